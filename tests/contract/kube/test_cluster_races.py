"""Writes that come too late, on the simulator and on a real API server."""

from collections.abc import Callable
from typing import Any

import pytest

from lictor.errors import ConflictError, InvalidError, ObjectNotFoundError
from lictor.jsontypes import JsonObject
from lictor.model.names import Gvk, ObjectKey, ObjectRef
from lictor.model.patch import PatchOp, PatchOperation

CONFIG_MAP = Gvk("", "v1", "ConfigMap")
Namer = Callable[[str], ObjectKey]


def config(key: ObjectKey, **data: str) -> JsonObject:
    """Return a ConfigMap."""
    metadata: JsonObject = {"name": key.name}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(data)}


def without(name: str) -> list[PatchOperation]:
    """Return a patch that applies only where there is such a value."""
    return [PatchOperation(op=PatchOp.REMOVE, path=f"/data/{name}")]


@pytest.mark.parametrize("dry_run", [True, False])
async def test_patch_that_no_longer_fits_a_newer_state_is_a_conflict(
    world: Any,  # noqa: ANN401 - see conftest
    config_map: Namer,
    *,
    dry_run: bool,
) -> None:
    """Somebody else has removed it already: that is no fault of the patch, read again."""
    key = config_map("a")
    made = await world.create(key, config(key, keep="1", bad="1"))
    await world.update(key, config(key, keep="1"))

    with pytest.raises(ConflictError, match="a"):
        await world.objects.patch(
            ObjectRef(key, CONFIG_MAP, made.uid),
            resource_version=made.resource_version,
            operations=without("bad"),
            dry_run=dry_run,
        )


async def test_patch_that_never_fitted_is_invalid(world: Any, config_map: Namer) -> None:  # noqa: ANN401
    """On the very version that was read, to send it again cannot help."""
    key = config_map("a")
    made = await world.create(key, config(key, keep="1"))

    with pytest.raises(InvalidError, match="a"):
        await world.objects.patch(
            ObjectRef(key, CONFIG_MAP, made.uid),
            resource_version=made.resource_version,
            operations=without("bad"),
            dry_run=False,
        )


async def test_patch_that_no_longer_fits_a_successor_is_a_conflict(
    world: Any,  # noqa: ANN401 - see conftest
    config_map: Namer,
) -> None:
    """Deleted and made again: another object, which the patch was not planned on."""
    key = config_map("a")
    made = await world.create(key, config(key, keep="1", bad="1"))
    await world.drop(key)
    successor = await world.create(key, config(key, keep="1"))

    with pytest.raises(ConflictError, match="a"):
        await world.objects.patch(
            ObjectRef(key, CONFIG_MAP, made.uid),
            resource_version=made.resource_version,
            operations=without("bad"),
            dry_run=False,
        )

    assert (await world.reader.get(key)).resource_version == successor.resource_version


async def test_patch_of_an_object_that_went_is_not_found(world: Any, config_map: Namer) -> None:  # noqa: ANN401
    """There is nothing left to repair."""
    key = config_map("a")
    made = await world.create(key, config(key, bad="1"))
    await world.drop(key)

    with pytest.raises(ObjectNotFoundError, match="a"):
        await world.objects.patch(
            ObjectRef(key, CONFIG_MAP, made.uid),
            resource_version=made.resource_version,
            operations=without("bad"),
            dry_run=False,
        )
