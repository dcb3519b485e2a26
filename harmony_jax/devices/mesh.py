"""The device mesh, and where arrays live on it."""

import math
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from harmony_jax.errors import InputError

_REPLICA, _SHARD = "replica", "shard"
# Smaller arrays stay whole: each would need a gather of its own. In hrnet18s_idih256 they are 1,702
# of the state's 2,044 arrays and 1.2 % of its bytes.
_MIN_SHARDED_SIZE = 2**12


def create_mesh(devices: int = 0, shards: int = 1) -> Mesh:
    """The devices as a grid: replicas of the state, each divided over `shards` devices.

    Devices of one process are neighbours, so that its part of a batch is contiguous, and a divided
    copy of the state stays within one process where it can.

    Args:
        devices: how many, the first ones; 0 for all devices of all processes.
        shards: devices that share one copy of the state; 1 for a copy on each, 0 for a single copy
            over all (fully sharded data parallel).
    """
    available = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    if not 0 <= devices <= len(available):
        raise InputError(
            f"mesh.devices {devices}: there are {len(available)} devices "
            f"({available[0].platform}): choose 0 (all) to {len(available)}"
        )
    if devices and devices < len(available) and jax.process_count() > 1:
        raise InputError(
            f"mesh.devices {devices}: with {jax.process_count()} processes all "
            f"{len(available)} devices take part: choose 0"
        )
    count = devices or len(available)
    shards = shards or count
    if shards < 0 or count % shards:
        raise InputError(f"mesh.shards {shards}: must divide the {count} devices")
    return mesh_of(available[:count], shards)


def mesh_of(devices: Iterable[Any], shards: int = 1) -> Mesh:
    """The mesh of given devices, in their order; `shards` must divide their number."""
    grid = np.array(list(devices)).reshape(-1, shards)
    # Auto: the compiler propagates shardings, so that models need not mention them.
    return Mesh(grid, (_REPLICA, _SHARD), axis_types=(AxisType.Auto,) * 2)


def replicated(mesh: Mesh) -> NamedSharding:
    """A copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def sharded(mesh: Mesh) -> NamedSharding:
    """The first axis divided over all devices: batches."""
    return NamedSharding(mesh, PartitionSpec((_REPLICA, _SHARD)))


def parts_sharded(mesh: Mesh) -> NamedSharding:
    """The second axis divided over all devices: batches that are computed in parts."""
    return NamedSharding(mesh, PartitionSpec(None, (_REPLICA, _SHARD)))


def divides_state(mesh: Mesh) -> bool:
    """Whether a copy of the state is divided over several devices."""
    return mesh.shape[_SHARD] > 1


def state_shardings(state: Any, mesh: Mesh) -> Any:
    """The shardings of a tree of arrays, or of their shapes.

    Each is divided along its longest axis that the shards divide; small ones are whole.
    """
    shards = mesh.shape[_SHARD]

    def place(leaf: Any) -> NamedSharding:
        fitting = [axis for axis, size in enumerate(leaf.shape) if size % shards == 0]
        if shards == 1 or not fitting or math.prod(leaf.shape) < _MIN_SHARDED_SIZE:
            return replicated(mesh)
        longest = max(fitting, key=lambda axis: leaf.shape[axis])
        return NamedSharding(mesh, PartitionSpec(*[None] * longest, _SHARD))

    return jax.tree.map(place, state)


def check_batch_size(field: str, batch_size: int, mesh: Mesh, parts: int = 1) -> None:
    """Raises InputError, naming the field, unless the mesh divides each part of a batch."""
    unit = mesh.size * parts
    if batch_size <= 0 or batch_size % unit:
        times = f" times {parts} (train.accumulate)" if parts > 1 else ""
        raise InputError(
            f"{field} {batch_size}: must be a positive multiple of the {mesh.size} devices{times}: "
            f"choose {max(1, round(batch_size / unit)) * unit}, or fewer devices with mesh.devices"
        )


def round_up(batch_size: int, mesh: Mesh) -> int:
    """The batch filled up to a multiple of the devices."""
    return -(-batch_size // mesh.size) * mesh.size


def place(tree: Any, shardings: Any) -> Any:
    """Puts values that all processes have alike on the mesh; the arrays are copies.

    `jax.device_put` would first compare them over the network, array by array. Weak types, which
    would make a step compile once more, get lost.

    Args:
        tree: NumPy or local JAX arrays.
        shardings: one for all, or a tree of them.
    """

    def put(leaf: Any, sharding: NamedSharding) -> jax.Array:
        host = np.asarray(leaf)
        return jax.make_array_from_callback(
            host.shape, sharding, lambda index: np.array(host[index])
        )

    return jax.tree.map(put, tree, jax.tree.broadcast(shardings, tree))


def to_devices(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Puts this process's part of a batch on the mesh; the first axis is divided."""
    sharding = sharded(mesh)
    return {
        key: jax.make_array_from_process_local_data(sharding, value) for key, value in batch.items()
    }
