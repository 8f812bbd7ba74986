"""Differences between two states of an object, and undoing some of them."""

import pytest

from lictor.errors import InputError
from lictor.jsontypes import Json, JsonObject
from lictor.model.difference import Difference, DifferenceKind, differences, revert
from lictor.model.patch import MISSING, apply_patch, make_patch, resolve


def _container(name: str, **fields: Json) -> JsonObject:
    return {"name": name, "image": f"{name}:1", **fields}


def _deployment(*containers: Json, **spec: Json) -> JsonObject:
    return {
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {"replicas": 2, **spec, "template": {"spec": {"containers": list(containers)}}},
    }


def _labels(pieces: tuple[Difference, ...]) -> list[tuple[str, str]]:
    return [(str(piece.kind), piece.label) for piece in pieces]


def test_differences_align_containers_by_name() -> None:
    """A container put in front does not make the others look changed."""
    before = _deployment(_container("web"), _container("log"))
    after = _deployment(_container("evil"), _container("web", image="other:1"), _container("log"))

    pieces = differences(before, after)

    assert _labels(pieces) == [
        ("changed", "spec.template.spec.containers[name=web].image"),
        ("added", "spec.template.spec.containers[name=evil]"),
    ]
    assert pieces[0].path == "/spec/template/spec/containers/1/image"
    assert resolve(after, pieces[0].path) == "other:1"


def test_revert_undoes_just_what_is_selected() -> None:
    """The inserted container goes; the scale and the label that drifted too stay."""
    before = _deployment(_container("web"))
    after = _deployment(_container("evil"), _container("web"), replicas=5)
    after["metadata"] = {"name": "web", "labels": {"app": "web", "x": "y"}}
    pieces = differences(before, after)

    result = revert(after, [piece for piece in pieces if "evil" in piece.label])

    assert result["metadata"] == after["metadata"]
    assert result["spec"] == _deployment(_container("web"), replicas=5)["spec"]
    assert [(p.op, p.path) for p in make_patch(after, result)] == [
        ("remove", "/spec/template/spec/containers/0")
    ]
    assert apply_patch(after, make_patch(after, result)) == result


@pytest.mark.parametrize(
    ("field", "first", "second"),
    [
        pytest.param("ports", {"containerPort": 80}, {"containerPort": 81}, id="ports"),
        pytest.param("env", {"name": "A", "value": "1"}, {"name": "B", "value": "1"}, id="env"),
        pytest.param("volumeMounts", {"mountPath": "/a"}, {"mountPath": "/b"}, id="mounts"),
        pytest.param("volumeDevices", {"devicePath": "/a"}, {"devicePath": "/b"}, id="devices"),
        pytest.param("hostAliases", {"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}, id="aliases"),
        pytest.param("conditions", {"type": "Ready"}, {"type": "Done"}, id="conditions"),
        pytest.param("items", {"key": "a", "path": "a"}, {"key": "b", "path": "b"}, id="items"),
        pytest.param("ownerReferences", {"uid": "1", "name": "a"}, {"uid": "2"}, id="owners"),
        pytest.param(
            "topologySpreadConstraints",
            {"topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"},
            {"topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"},
            id="spread",
        ),
    ],
)
def test_differences_know_the_keys_of_kubernetes_lists(
    field: str, first: JsonObject, second: JsonObject
) -> None:
    """An element in front of another is one piece, and so is a field of the other."""
    pieces = differences({field: [second]}, {field: [first, {**second, "extra": 1}]})

    assert [piece.kind for piece in pieces] == [DifferenceKind.ADDED, DifferenceKind.ADDED]
    assert [piece.path for piece in pieces] == [f"/{field}/1/extra", f"/{field}/0"]


def test_differences_of_ports_know_the_default_protocol() -> None:
    """A port without a protocol is the TCP one; the same number in UDP is another port."""
    before: JsonObject = {"ports": [{"containerPort": 53}]}
    after: JsonObject = {
        "ports": [
            {"containerPort": 53, "protocol": "UDP"},
            {"containerPort": 53, "protocol": "TCP"},
        ]
    }

    assert _labels(differences(before, after)) == [
        ("added", "ports[containerPort=53,protocol=TCP].protocol"),
        ("added", "ports[containerPort=53,protocol=UDP]"),
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(["a", "b"], ["b", "a"], id="scalars"),
        pytest.param([{"name": "a"}, {"name": "a"}], [{"name": "a"}], id="key-twice"),
        pytest.param([{"name": "a"}], [{"name": "a"}, {"other": 1}], id="key-missing"),
        pytest.param([{"name": True}], [{"name": False}], id="key-no-name"),
        pytest.param([{"name": "a"}], [], id="nothing-but-removed"),
    ],
)
def test_differences_of_other_lists_are_one_piece(before: list[Json], after: list[Json]) -> None:
    """A list whose elements have no names of their own is undone as a whole."""
    pieces = differences({"l": before}, {"l": after})

    assert len(pieces) == 1
    assert revert({"l": after}, pieces) == {"l": before}


def test_differences_find_a_changed_order() -> None:
    """Init containers that swapped places differ, though each is what it was."""
    before: JsonObject = {"initContainers": [_container("a"), _container("b"), _container("c")]}
    after: JsonObject = {
        "initContainers": [_container("c"), _container("x"), _container("a"), _container("b")]
    }

    pieces = differences(before, after)

    assert _labels(pieces) == [("added", "initContainers[name=x]"), ("reordered", "initContainers")]
    assert revert(after, pieces) == before
    assert revert(after, pieces[1:])["initContainers"] == [
        _container("a"),
        _container("x"),
        _container("b"),
        _container("c"),
    ]


def test_revert_puts_a_removed_element_back_in_its_place() -> None:
    """What was taken out of the middle returns to the middle."""
    before = _deployment(_container("a"), _container("b"), _container("c"))
    after = _deployment(_container("a"), _container("c"))

    pieces = differences(before, after)

    assert [piece.path for piece in pieces] == ["/spec/template/spec/containers/1"]
    assert pieces[0].after is MISSING
    assert revert(after, pieces) == before


def test_differences_leave_out_what_is_ignored() -> None:
    """Nothing at or below an ignored pointer is compared."""
    before: JsonObject = {"status": {"a": 1}, "metadata": {"resourceVersion": "1", "labels": {}}}
    after: JsonObject = {"metadata": {"resourceVersion": "2", "labels": {"a": "b"}}}

    pieces = differences(before, after, ignored=["/status", "/metadata/resourceVersion"])

    assert _labels(pieces) == [("added", "metadata.labels.a")]


def test_differences_label_quotes_keys_that_are_no_words() -> None:
    """A label key with dots cannot be mistaken for a path."""
    pieces = differences({"labels": {}}, {"labels": {"lictor.dev/owner": "a"}})

    assert pieces[0].label == "labels['lictor.dev/owner']"
    assert pieces[0].path == "/labels/lictor.dev~1owner"


def test_revert_refuses_pieces_of_another_state() -> None:
    """A piece whose place is gone is an error, not a silent nothing."""
    pieces = differences({"a": {"b": 1}}, {"a": {"b": 2}})

    with pytest.raises(InputError, match=r"a\.b is not where it was"):
        revert({"c": 1}, pieces)


def test_revert_shares_nothing_with_the_baseline() -> None:
    """A value that was put back can be changed without changing the earlier state."""
    before: JsonObject = {"a": {"b": [1]}}

    result = revert({}, differences(before, {}))

    assert result == before
    assert result["a"] is not before["a"]


def test_differences_of_a_new_map_of_labels_are_one_a_label() -> None:
    """One bad label among new ones is undone alone; with the last of them the map goes too."""
    before: JsonObject = {"metadata": {"name": "web"}}
    after: JsonObject = {"metadata": {"name": "web", "labels": {"bad": "1", "good": "2"}}}

    pieces = differences(before, after)

    assert [piece.path for piece in pieces] == ["/metadata/labels/bad", "/metadata/labels/good"]
    assert revert(after, pieces[:1]) == {"metadata": {"name": "web", "labels": {"good": "2"}}}
    assert revert(after, pieces) == before
    assert revert(revert(after, pieces[:1]), pieces[1:]) == before


def test_differences_of_a_new_map_in_a_new_map_undo_both() -> None:
    """Limits inside new resources go one by one, and then the maps that held them."""
    before: JsonObject = {"spec": {"containers": [{"name": "web"}]}}
    limits: JsonObject = {"cpu": "1", "memory": "1Gi"}
    after: JsonObject = {"spec": {"containers": [{"name": "web", "resources": {"limits": limits}}]}}

    pieces = differences(before, after)

    assert [piece.label for piece in pieces] == [
        "spec.containers[name=web].resources.limits.cpu",
        "spec.containers[name=web].resources.limits.memory",
    ]
    assert revert(after, pieces) == before


def test_differences_of_another_new_map_are_one_piece() -> None:
    """Half of a probe would not be valid."""
    before: JsonObject = {"spec": {}}
    after: JsonObject = {"spec": {"seccompProfile": {"type": "Localhost", "localhostProfile": "x"}}}

    assert [piece.path for piece in differences(before, after)] == ["/spec/seccompProfile"]
