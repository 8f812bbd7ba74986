"""What is watched, and what surrounds an object."""

from typing import Any

import pytest

from enforcer.loop import Surroundings
from enforcer.watch import AUTOSCALERS, BUDGETS, NAMESPACES, PAUSES, Watch
from lictor.errors import ForbiddenError, UnavailableError
from lictor.jsontypes import Json, JsonObject
from lictor.model.document import Document
from lictor.model.names import Gvk, Gvr, ObjectKey, ResourceVersion
from testkit.enforcing import DEPLOYMENTS, deployment, target_of
from testkit.simulators.cluster import MemoryCluster, MemoryObjectCache, MemoryReader
from testkit.simulators.enforcer import StoppedClock

_WEB = ObjectKey(DEPLOYMENTS, "shop", "web")
_OTHER = ObjectKey(DEPLOYMENTS, "other", "web")


class _Yard:
    """A cluster with two Deployments in two namespaces, and a watch over it."""

    def __init__(self) -> None:
        self.cluster = MemoryCluster()
        self.clock = StoppedClock()
        for name in ("shop", "other"):
            self.put(NAMESPACES, "", name)
            self.cluster.create(ObjectKey(DEPLOYMENTS, name, "web"), deployment(namespace=name))
        self.deployments = MemoryObjectCache(self.cluster, DEPLOYMENTS)
        around = (NAMESPACES, AUTOSCALERS, BUDGETS, PAUSES)
        self.around = {gvr: MemoryObjectCache(self.cluster, gvr) for gvr in around}
        self.watch = Watch([self.deployments], list(self.around.values()), clock=self.clock)
        self.queued: list[ObjectKey] = []
        self.watch.start(self.queued.append)

    def put(self, gvr: Gvr, namespace: str, name: str, **fields: Json) -> Document:
        key = ObjectKey(gvr, namespace, name)
        tree: JsonObject = {"apiVersion": gvr.api_version, "kind": "Any", **fields}
        if key in self.cluster.objects:
            return self.cluster.update(key, tree)
        return self.cluster.create(key, tree)

    def autoscaler(self, name: str = "web", api_version: str = "apps/v1", **status: Json) -> None:
        reference: Json = {"apiVersion": api_version, "kind": "Deployment", "name": name}
        self.put(AUTOSCALERS, "shop", "hpa", spec={"scaleTargetRef": reference}, status=status)


@pytest.fixture
def yard() -> _Yard:
    """A yard in which nothing has happened yet."""
    return _Yard()


def test_watch_queues_what_changes(yard: _Yard) -> None:
    """A change of a governed object is its key in the queue."""
    yard.cluster.update(_WEB, deployment(labels={"a": "1"}))
    yard.cluster.remove(_OTHER)

    assert yard.queued == [_WEB, _OTHER]


def test_watch_queues_a_namespace_in_one_pass(yard: _Yard) -> None:
    """A change of a namespace concerns what is in it, once for any number of changes."""
    yard.put(NAMESPACES, "", "shop", metadata={"labels": {"a": "1"}})
    yard.put(NAMESPACES, "", "shop", metadata={"labels": {"a": "2"}})
    assert yard.queued == []

    yard.watch.flush()
    yard.watch.flush()

    assert yard.queued == [_WEB]


def test_watch_queues_everything_for_a_pause(yard: _Yard) -> None:
    """When a pause comes or goes, everything is looked at."""
    yard.put(PAUSES, "", "stop")

    yard.watch.flush()

    assert yard.queued == [_OTHER, _WEB]


def test_watch_knows_what_is_autoscaled(yard: _Yard) -> None:
    """An autoscaler owns what it targets, by group, kind, name and namespace."""
    target = target_of(deployment())
    assert not yard.watch.autoscaled(target)

    yard.autoscaler()
    assert yard.watch.autoscaled(target)
    assert not yard.watch.autoscaled(target_of(deployment(namespace="other")))

    yard.autoscaler(api_version="example.com/v1")
    assert not yard.watch.autoscaled(target)


def test_watch_ignores_the_status_of_an_autoscaler(yard: _Yard) -> None:
    """Its status changes every 15 seconds; only another target concerns anybody."""
    yard.autoscaler()
    yard.watch.flush()
    yard.queued.clear()

    yard.autoscaler(currentReplicas=3)
    yard.watch.flush()

    assert yard.queued == []


@pytest.mark.parametrize(
    ("spec", "allowed", "minimum"),
    [
        pytest.param({"selector": {}, "minAvailable": 2}, 1, 2, id="empty selects all"),
        pytest.param({"minAvailable": 2}, None, 0, id="missing selects nothing"),
        pytest.param(
            {"selector": {"matchLabels": {"app": "web"}}, "maxUnavailable": 1}, 1, 0, id="labels"
        ),
        pytest.param({"selector": {"matchLabels": {"app": "db"}}}, None, 0, id="other labels"),
        pytest.param(
            {"selector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}},
            1,
            0,
            id="expressions",
        ),
        pytest.param({"selector": {}, "minAvailable": "50%"}, 1, 0, id="a share"),
        pytest.param({"selector": "broken"}, None, 0, id="unreadable"),
    ],
)
def test_watch_finds_disruption_budgets(
    yard: _Yard, spec: dict[str, Any], allowed: int | None, minimum: int
) -> None:
    """A budget counts when it selects the pods."""
    yard.put(BUDGETS, "shop", "budget", spec=spec, status={"disruptionsAllowed": 1})

    found = yard.watch.disruption("shop", {"app": "web"})

    assert (found.allowed, found.minimum) == (allowed, minimum)
    assert yard.watch.disruption("other", {"app": "web"}).allowed is None


def test_watch_distrusts_the_cache_after_a_write(yard: _Yard) -> None:
    """Until the cache shows another state than the one before our write, it is not asked."""
    yard.deployments.held = True
    before = yard.cluster.objects[_WEB].resource_version
    after = yard.cluster.update(_WEB, deployment(labels={"a": "1"})).resource_version
    yard.watch.wrote(_WEB, before=before, after=after)
    assert not yard.watch.trusted(_WEB)
    assert yard.watch.trusted(_OTHER)

    yard.deployments.release()

    assert yard.watch.trusted(_WEB)


def test_watch_trusts_the_cache_again_in_the_end(yard: _Yard) -> None:
    """A write that the watch never shows does not shut the cache out for ever."""
    before = yard.cluster.objects[_WEB].resource_version
    yard.watch.wrote(_WEB, before=before, after=ResourceVersion("never-seen"))
    assert not yard.watch.trusted(_WEB)

    yard.clock.seconds += 31

    assert yard.watch.trusted(_WEB)


def test_watch_sweeps_and_counts(yard: _Yard) -> None:
    """A sweep queues every key and says how many there are."""
    assert yard.watch.sweep() == 2
    assert yard.queued == [_OTHER, _WEB]
    assert yard.watch.counts() == {DEPLOYMENTS: 2}


def test_watch_is_synced_with_all_its_caches(yard: _Yard) -> None:
    """One cache that is not complete is enough not to act."""
    assert yard.watch.synced()
    yard.around[PAUSES].is_synced = False
    assert not yard.watch.synced()


class _Kinds:
    async def resource_for(self, kind: Gvk) -> Gvr | None:
        known = {"Deployment": "deployments", "ReplicaSet": "replicasets"}
        name = known.get(kind.kind)
        return Gvr(kind.group, kind.version, name) if name else None


def _owned_by(kind: str, uid: str, *, controller: bool = True) -> JsonObject:
    reference: Json = {
        "apiVersion": "apps/v1",
        "kind": kind,
        "name": "up",
        "uid": uid,
        "controller": controller,
    }
    return {"ownerReferences": [reference]}


async def test_surroundings_climb_to_the_top_owner(yard: _Yard) -> None:
    """From controller to controller, as far as each is there with its uid."""
    top = yard.cluster.create(ObjectKey(DEPLOYMENTS, "shop", "up"), deployment(name="up"))
    middle = Gvr("apps", "v1", "replicasets")
    between = yard.put(middle, "shop", "up", metadata=_owned_by("Deployment", top.uid))
    document = Document.of(deployment(**_owned_by("ReplicaSet", between.uid)))
    surroundings = Surroundings(yard.watch, MemoryReader(yard.cluster), _Kinds())

    found = await surroundings.around(document, target_of(deployment()))

    assert found.owner == ObjectKey(DEPLOYMENTS, "shop", "up")


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param(_owned_by("Deployment", "another"), id="another uid"),
        pytest.param(_owned_by("Unheard", "any"), id="unknown kind"),
        pytest.param(_owned_by("Deployment", "right", controller=False), id="no controller"),
        pytest.param({}, id="nobody"),
    ],
)
async def test_surroundings_believe_no_mere_claim(yard: _Yard, metadata: dict[str, Any]) -> None:
    """A reference counts when it is the controller's, and its owner is there."""
    yard.cluster.create(ObjectKey(DEPLOYMENTS, "shop", "up"), deployment(name="up"))
    surroundings = Surroundings(yard.watch, MemoryReader(yard.cluster), _Kinds())

    found = await surroundings.around(Document.of(deployment(**metadata)), target_of(deployment()))

    assert found.owner is None


async def test_surroundings_tell_a_forbidden_owner_from_an_unknown_one(yard: _Yard) -> None:
    """What we may not read shields nothing; what cannot be read now may."""
    document = Document.of(deployment(**_owned_by("ReplicaSet", "any")))
    surroundings = Surroundings(yard.watch, MemoryReader(yard.cluster), _Kinds())

    yard.cluster.failure = ForbiddenError("no", code=403)
    assert (await surroundings.around(document, target_of(deployment()))).owner is None
    yard.cluster.failure = UnavailableError("down")
    with pytest.raises(UnavailableError, match="down"):
        await surroundings.around(document, target_of(deployment()))


async def test_surroundings_see_pauses_and_ends(yard: _Yard) -> None:
    """The annotation counts on the object, its owner and its namespace; deletion on two of them."""
    surroundings = Surroundings(yard.watch, MemoryReader(yard.cluster), _Kinds())
    paused: JsonObject = {"annotations": {"lictor.dev/paused": "true"}}

    async def look(**metadata: Json) -> tuple[str, bool]:
        around = await surroundings.around(
            Document.of(deployment(**metadata)), target_of(deployment())
        )
        return around.paused_by, around.terminating

    assert await look() == ("", False)
    assert await look(**paused) == ("the object", False)
    assert await look(deletionTimestamp="2026-01-01T00:00:00Z") == ("", True)
    owner = yard.cluster.create(
        ObjectKey(DEPLOYMENTS, "shop", "up"), deployment(name="up", **paused)
    )
    assert await look(**_owned_by("Deployment", owner.uid)) == ("its owner", False)
    yard.put(
        NAMESPACES, "", "shop", metadata={**paused, "deletionTimestamp": "2026-01-01T00:00:00Z"}
    )
    assert await look() == ("its namespace", True)
