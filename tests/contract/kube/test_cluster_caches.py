"""What we rely on when we follow a resource, on the simulator and on a real API server."""

from collections.abc import Callable
from typing import Any

from lictor.jsontypes import JsonObject
from lictor.model.names import Gvk, Gvr, ObjectKey
from testkit.tasks import eventually

CONFIG_MAPS = Gvr("", "v1", "configmaps")
CONFIG_MAP = Gvk("", "v1", "ConfigMap")
Namer = Callable[[str], ObjectKey]


def config(key: ObjectKey, value: str) -> JsonObject:
    """Return a ConfigMap."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": key.name},
        "data": {"a": value},
    }


def value(cache: Any, key: ObjectKey) -> object:  # noqa: ANN401 - see conftest
    """Return what the cache holds in the place of our value."""
    found = cache.latest(key)
    return found and found.tree["data"]["a"]


async def test_cache_holds_what_was_there_before(world: Any, config_map: Namer) -> None:  # noqa: ANN401
    """The first list is complete, and its objects say their kind."""
    key = config_map("a")
    made = await world.create(key, config(key, "1"))

    async with world.cache(CONFIG_MAPS, CONFIG_MAP) as cache:
        found = cache.latest(key)

        assert cache.synced()
        assert cache.resource == CONFIG_MAPS
        assert key in set(cache.keys())
        assert (found.uid, found.resource_version) == (made.uid, made.resource_version)
        assert found.kind == CONFIG_MAP


async def test_cache_follows_creation_change_and_deletion(world: Any, config_map: Namer) -> None:  # noqa: ANN401
    """Each change is told by its key, and the newest state is there when it is told."""
    key = config_map("a")
    async with world.cache(CONFIG_MAPS, CONFIG_MAP) as cache:
        seen: list[object] = []
        cache.subscribe(lambda told: seen.append(value(cache, told)) if told == key else None)

        await world.create(key, config(key, "1"))
        await world.update(key, config(key, "2"))
        await world.drop(key)
        await eventually(lambda: len(seen) == 3)

    assert seen == ["1", "2", None]


async def test_cache_shows_writes_in_their_order(world: Any, config_map: Namer) -> None:  # noqa: ANN401
    """Over many objects events come in the order of the writes."""
    keys = [config_map(f"c{number}") for number in range(20)]
    async with world.cache(CONFIG_MAPS, CONFIG_MAP) as cache:
        told: list[ObjectKey] = []
        cache.subscribe(lambda key: told.append(key) if key in keys else None)

        for key in keys:
            await world.create(key, config(key, "1"))
        for key in reversed(keys):
            await world.update(key, config(key, "2"))
        await eventually(lambda: len(told) == 40)

    assert told == [*keys, *reversed(keys)]


async def test_cache_takes_the_successor_of_an_object(world: Any, config_map: Namer) -> None:  # noqa: ANN401
    """A new object of the same name takes the place, without the states of its predecessor."""
    key = config_map("a")
    async with world.cache(CONFIG_MAPS, CONFIG_MAP) as cache:
        first = await world.create(key, config(key, "1"))
        await world.drop(key)
        second = await world.create(key, config(key, "2"))
        await world.update(key, config(key, "3"))
        await eventually(lambda: value(cache, key) == "3")

        assert cache.latest(key).uid == second.uid
        assert cache.take(key, first.uid) == []


async def test_take_gives_overtaken_states_newest_first(world: Any, config_map: Namer) -> None:  # noqa: ANN401
    """Each state that a newer one overtook is given once."""
    key = config_map("a")
    async with world.cache(CONFIG_MAPS, CONFIG_MAP) as cache:
        made = await world.create(key, config(key, "1"))
        for change in ("2", "3"):
            await world.update(key, config(key, change))
        await eventually(lambda: value(cache, key) == "3")

        taken = [state.tree["data"] for state in cache.take(key, made.uid)]

        assert taken == [{"a": "2"}, {"a": "1"}]
        assert cache.take(key, made.uid) == []
