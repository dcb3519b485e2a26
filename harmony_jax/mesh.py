"""The device mesh, and where arrays live on it."""

from collections import deque
from collections.abc import Generator, Iterable

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from harmony_jax.errors import InputError

_BATCH_AXIS = "batch"
_BATCHES_AHEAD = 2


def create_mesh() -> Mesh:
    """All devices of all processes in one axis, over which batches are sharded.

    Devices of one process are neighbours, so that its part of a batch is contiguous.
    """
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    # Auto: the compiler propagates shardings, so models are written without a word of them.
    return Mesh(np.array(devices), (_BATCH_AXIS,), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """A copy on every device: the state."""
    return NamedSharding(mesh, PartitionSpec())


def sharded(mesh: Mesh) -> NamedSharding:
    """The first axis divided over the devices: batches."""
    return NamedSharding(mesh, PartitionSpec(_BATCH_AXIS))


def check_batch_size(field: str, batch_size: int, mesh: Mesh) -> None:
    """Raises InputError, naming the config field, unless the mesh divides the batch evenly."""
    if batch_size <= 0 or batch_size % mesh.size:
        raise InputError(
            f"{field} {batch_size}: must be a positive multiple of the {mesh.size} devices"
        )


def to_devices(
    batches: Iterable[dict[str, np.ndarray]], mesh: Mesh
) -> Generator[dict[str, jax.Array], None, None]:
    """Puts batches on the mesh ahead of their use, each process its own part of each batch.

    Args:
        batches: this process's share of the global batches; the first axis is sharded.
        mesh: the devices of all processes.

    Close it before its source: on a CPU the batches put ahead share the source's memory.
    """
    sharding = sharded(mesh)
    ahead: deque[dict[str, jax.Array]] = deque()
    for batch in batches:
        ahead.append(
            {
                key: jax.make_array_from_process_local_data(sharding, value)
                for key, value in batch.items()
            }
        )
        if len(ahead) == _BATCHES_AHEAD:
            yield ahead.popleft()
    yield from ahead
