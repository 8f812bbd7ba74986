"""What we rely on when we read and write objects, on the simulator and on a real API server."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from lictor.errors import AlreadyExistsError, ConflictError, InvalidError, ObjectNotFoundError
from lictor.jsontypes import Json, JsonObject
from lictor.model.document import Document
from lictor.model.names import Gvk, Gvr, ObjectKey, ObjectRef, ResourceVersion, Uid
from lictor.model.patch import PatchOp, PatchOperation
from lictor.ports.event_writer import Notice

CONFIG_MAP = Gvk("", "v1", "ConfigMap")
Namer = Callable[[str], ObjectKey]


def config(**data: str) -> JsonObject:
    """Return a ConfigMap; its name comes with its key."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}, "data": dict(data)}


def named(key: ObjectKey, tree: JsonObject, **meta: Json) -> JsonObject:
    """Return the object with its name."""
    return {**tree, "metadata": {"name": key.name, **meta}}


def ref(key: ObjectKey, document: Document) -> ObjectRef:
    """Return the reference of an object that was read."""
    return ObjectRef(key, CONFIG_MAP, document.uid)


def data(value: str) -> Sequence[PatchOperation]:
    """Return a patch."""
    return [PatchOperation(op=PatchOp.REPLACE, path="/data/a", value=value)]


async def read(world: Any, key: ObjectKey) -> Document:  # noqa: ANN401 - see conftest
    """Return an object that must be there."""
    found = await world.reader.get(key)
    assert found is not None
    return found


async def test_get_of_a_missing_object_is_none(world: Any, config_map: Namer) -> None:  # noqa: ANN401
    """What does not exist is None, not an error."""
    key = config_map("none")

    assert await world.reader.get(key) is None
    assert await world.leases.read(key) is None
    assert await world.registration.read(key) is None


async def test_get_gives_what_was_written(world: Any, config_map: Namer) -> None:  # noqa: ANN401
    """A read after a write shows it, with uid, version and kind."""
    key = config_map("a")
    made = await world.create(key, named(key, config(a="1")))

    found = await read(world, key)

    assert (found.uid, found.resource_version) == (made.uid, made.resource_version)
    assert found.kind == CONFIG_MAP
    assert found.tree["data"] == {"a": "1"}


async def test_patch_changes_the_object_and_its_version(world: Any, config_map: Namer) -> None:  # noqa: ANN401
    """A patch on the version read takes effect and makes a new version."""
    key = config_map("a")
    made = await world.create(key, named(key, config(a="1")))

    written = await world.objects.patch(
        ref(key, made),
        resource_version=made.resource_version,
        operations=data("2"),
        dry_run=False,
    )

    assert written.resource_version != made.resource_version
    assert written.uid == made.uid
    assert (await read(world, key)).tree == written.tree


async def test_patch_that_changes_nothing_makes_no_version(world: Any, config_map: Namer) -> None:  # noqa: ANN401
    """A write without a change is no write: no event comes, and no version."""
    key = config_map("a")
    made = await world.create(key, named(key, config(a="1")))

    written = await world.objects.patch(
        ref(key, made),
        resource_version=made.resource_version,
        operations=data("1"),
        dry_run=False,
    )

    assert written.resource_version == made.resource_version


async def test_patch_on_an_old_version_is_a_conflict(world: Any, config_map: Namer) -> None:  # noqa: ANN401
    """Whoever was faster wins, and the patch has no effect."""
    key = config_map("a")
    made = await world.create(key, named(key, config(a="1")))
    await world.update(key, named(key, config(a="2")))

    with pytest.raises(ConflictError, match="a"):
        await world.objects.patch(
            ref(key, made),
            resource_version=made.resource_version,
            operations=data("3"),
            dry_run=False,
        )

    assert (await read(world, key)).tree["data"] == {"a": "2"}


async def test_patch_of_a_successor_is_a_conflict(world: Any, config_map: Namer) -> None:  # noqa: ANN401
    """A new object of the same name is another one: the plan for the old one does not fit."""
    key = config_map("a")
    made = await world.create(key, named(key, config(a="1")))
    await world.drop(key)
    await world.create(key, named(key, config(a="1")))

    with pytest.raises(ConflictError, match="a"):
        await world.objects.patch(
            ref(key, made),
            resource_version=made.resource_version,
            operations=data("3"),
            dry_run=False,
        )


async def test_patch_of_a_missing_object_is_not_found(world: Any, config_map: Namer) -> None:  # noqa: ANN401
    """An object that is gone is not made again by a patch."""
    key = config_map("none")

    with pytest.raises(ObjectNotFoundError, match="none"):
        await world.objects.patch(
            ObjectRef(key, CONFIG_MAP, Uid("u")),
            resource_version=ResourceVersion("1"),
            operations=data("3"),
            dry_run=False,
        )


async def test_patch_of_a_missing_path_is_invalid(world: Any, config_map: Namer) -> None:  # noqa: ANN401
    """To send it again cannot help, so it is no conflict."""
    key = config_map("a")
    made = await world.create(key, named(key, config(a="1")))

    with pytest.raises(InvalidError, match="a"):
        await world.objects.patch(
            ref(key, made),
            resource_version=made.resource_version,
            operations=[PatchOperation(op=PatchOp.REMOVE, path="/data/b")],
            dry_run=False,
        )


async def test_dry_run_of_a_patch_leaves_no_trace(world: Any, config_map: Namer) -> None:  # noqa: ANN401
    """A dry run answers with the outcome, on the version that is there, and writes nothing."""
    key = config_map("a")
    made = await world.create(key, named(key, config(a="1")))

    outcome = await world.objects.patch(
        ref(key, made),
        resource_version=made.resource_version,
        operations=data("2"),
        dry_run=True,
    )

    assert outcome.tree["data"] == {"a": "2"}
    assert outcome.resource_version == made.resource_version
    assert (await read(world, key)).tree["data"] == {"a": "1"}


async def test_dry_run_on_an_old_version_is_a_conflict(world: Any, config_map: Namer) -> None:  # noqa: ANN401
    """A dry run checks the precondition too."""
    key = config_map("a")
    made = await world.create(key, named(key, config(a="1")))
    await world.update(key, named(key, config(a="2")))

    with pytest.raises(ConflictError, match="a"):
        await world.objects.patch(
            ref(key, made),
            resource_version=made.resource_version,
            operations=data("3"),
            dry_run=True,
        )


async def test_delete_removes_exactly_the_version_read(world: Any, config_map: Namer) -> None:  # noqa: ANN401
    """A change in between saves the object; without one it is gone."""
    key = config_map("a")
    made = await world.create(key, named(key, config(a="1")))
    changed = await world.update(key, named(key, config(a="2")))

    with pytest.raises(ConflictError, match="a"):
        await world.objects.delete(
            ref(key, made), resource_version=made.resource_version, dry_run=False
        )
    await world.objects.delete(
        ref(key, made), resource_version=changed.resource_version, dry_run=False
    )

    assert await world.reader.get(key) is None


async def test_delete_of_another_uid_is_a_conflict(world: Any, config_map: Namer) -> None:  # noqa: ANN401
    """A successor of the same name is not deleted, whatever its version."""
    key = config_map("a")
    made = await world.create(key, named(key, config(a="1")))

    with pytest.raises(ConflictError, match="a"):
        await world.objects.delete(
            ObjectRef(key, CONFIG_MAP, Uid("8a1a1a1a-0000-4000-8000-000000000000")),
            resource_version=made.resource_version,
            dry_run=False,
        )


async def test_dry_run_of_a_delete_leaves_no_trace(world: Any, config_map: Namer) -> None:  # noqa: ANN401
    """The object stays; beside a body the API server ignores `?dryRun=All`."""
    key = config_map("a")
    made = await world.create(key, named(key, config(a="1")))

    await world.objects.delete(ref(key, made), resource_version=made.resource_version, dry_run=True)

    assert (await read(world, key)).resource_version == made.resource_version


async def test_delete_of_a_missing_object_is_not_found(world: Any, config_map: Namer) -> None:  # noqa: ANN401
    """Who deletes what is gone learns that it was not he who did it."""
    target = ObjectRef(config_map("none"), CONFIG_MAP, Uid("u"))

    with pytest.raises(ObjectNotFoundError, match="none"):
        await world.objects.delete(target, resource_version=ResourceVersion("1"), dry_run=False)


async def test_lease_is_created_and_updated_by_version(world: Any) -> None:  # noqa: ANN401
    """Without a version it is created, with one exactly that version is replaced."""
    key = ObjectKey(Gvr("coordination.k8s.io", "v1", "leases"), world.namespace, "leader")
    tree: JsonObject = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "leader", "namespace": world.namespace},
        "spec": {"holderIdentity": "one"},
    }

    made = await world.leases.write(key, Document.of(tree))
    with pytest.raises(AlreadyExistsError, match="leader"):
        await world.leases.write(key, Document.of(tree))
    taken = await world.leases.write(
        key, Document.of({**made.tree, "spec": {"holderIdentity": "two"}})
    )
    with pytest.raises(ConflictError, match="leader"):
        await world.leases.write(key, made)

    assert taken.resource_version != made.resource_version
    assert (await world.leases.read(key)).tree["spec"] == {"holderIdentity": "two"}


async def test_registration_is_written_by_version(world: Any) -> None:  # noqa: ANN401
    """Without a version it is created, with one exactly that version is replaced."""
    key = ObjectKey(Gvr("", "v1", "secrets"), world.namespace, "tls")
    tree: JsonObject = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "tls", "namespace": world.namespace},
        "data": {"ca.crt": "YQ=="},
    }

    made = await world.registration.write(key, Document.of(tree))
    with pytest.raises(AlreadyExistsError, match="secrets"):
        await world.registration.write(key, Document.of(tree))
    written = await world.registration.write(
        key, Document.of({**made.tree, "data": {"ca.crt": "Yg=="}})
    )
    with pytest.raises(ConflictError, match="secrets"):
        await world.registration.write(key, made)

    assert (await world.registration.read(key)).resource_version == written.resource_version


async def test_registration_that_is_gone_is_not_made_again(world: Any) -> None:  # noqa: ANN401
    """What somebody has removed stays away; to remove it twice is no error."""
    key = ObjectKey(Gvr("", "v1", "secrets"), world.namespace, "tls")
    tree: JsonObject = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "tls", "namespace": world.namespace},
    }
    made = await world.registration.write(key, Document.of(tree))

    await world.registration.remove(key)
    await world.registration.remove(key)

    assert await world.registration.read(key) is None
    with pytest.raises((ObjectNotFoundError, ConflictError), match="secrets"):
        await world.registration.write(key, made)


async def test_emit_makes_an_event_about_the_object(world: Any, config_map: Namer) -> None:  # noqa: ANN401
    """A notice can be read beside its object."""
    key = config_map("a.b")
    made = await world.create(key, named(key, config(a="1")))
    notice = Notice(
        about=ref(key, made), reason="Reverted", action="Revert", note="as it was", warning=False
    )

    await world.events.emit(notice)

    assert await world.notes(made.uid) == ["as it was"]
