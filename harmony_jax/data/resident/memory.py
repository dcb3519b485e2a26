"""Whether samples fit into the memory of devices or the host, said before any is decoded."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from harmony_jax.data.batching import Reading
from harmony_jax.devices.host_memory import free_memory
from harmony_jax.errors import InputError

_SIZE_STEP = 8  # pixels, of the sizes that are suggested

# JAX's, of GPUs; the rest of the memory is for the driver and libraries.
_FRACTION_VARIABLE = "XLA_PYTHON_CLIENT_MEM_FRACTION"
_DEFAULT_FRACTION, _FRACTION = 0.75, 0.95


class Room(NamedTuple):
    """Memory for a share of the samples.

    Attributes:
        place: what it is called.
        free: bytes of it.
        share: of the samples of this process.
        reserved: bytes that something else needs.
        fraction: of a GPU's memory, that JAX may use; 1 elsewhere.
        total: bytes of it that JAX may use, `free` or not.
    """

    place: str
    free: int
    share: float = 1.0
    reserved: int = 0
    fraction: float = 1.0
    total: int = 0


def check_room(needed: Callable[[int], int], reading: Reading, room: Room | None) -> None:
    """Raises InputError, which says what would fit, unless the samples do.

    Args:
        needed: bytes of this process's samples, by the size they are stored at.
        reading: `stored_size` and `placement`.
        room: where they are to go; None: unknown, and let pass.
    """
    stored_size, placement = reading.stored_size, reading.placement
    if room is None or needed(stored_size) * room.share + room.reserved <= room.free:
        return

    def largest(free: int) -> int | None:
        sizes = range(stored_size // _SIZE_STEP * _SIZE_STEP, 0, -_SIZE_STEP)
        fitting = (side for side in sizes if needed(side) * room.share + room.reserved <= free)
        return next(fitting, None)

    ways = []
    if side := largest(room.free):
        ways.append(f"--config.data.resident_size={side} (the largest that fits)")
    if room.fraction < _FRACTION:
        more = room.free + int(room.total * (_FRACTION / room.fraction - 1))
        ways.append(
            f"the environment variable {_FRACTION_VARIABLE}={_FRACTION} (now {room.fraction:g}), "
            f"with which resident_size {largest(more) or 'no'} fits"
        )
    others = {"device": ("host", "stream"), "host": ("stream",)}
    ways += [f"--config.data.placement={name}" for name in others.get(placement, ())]
    step = f" beside {room.reserved / 1e9:,.1f} GB for the training step" if room.reserved else ""
    raise InputError(
        f"data.placement {placement}: the training set at data.resident_size {stored_size} needs "
        f"{needed(stored_size) * room.share / 1e9:,.1f} GB of {room.place}{step}, of which "
        f"{room.free / 1e9:,.1f} GB are free: use more devices, or pass {', or '.join(ways)}"
    )


def device_room(device: Any, count: int, reserved: int) -> Room | None:
    """What one of so many devices has; None if it does not say."""
    if device.platform == "cpu":  # the host's, which they share
        room = host_room()
        return room and room._replace(reserved=reserved * count)
    stats = device.memory_stats() or {}
    if "bytes_limit" not in stats:
        return None
    limit = stats["bytes_limit"]
    return Room(
        f"each device's memory ({device.device_kind})",
        limit - stats["bytes_in_use"],
        1 / count,
        reserved,
        _memory_fraction() if device.platform == "gpu" else 1.0,
        limit,
    )


def _memory_fraction() -> float:
    """The share of a GPU's memory that JAX takes; by default three quarters."""
    try:
        return float(os.environ.get(_FRACTION_VARIABLE) or _DEFAULT_FRACTION)
    except ValueError:
        return 1.0


def host_room() -> Room | None:
    """What the host has; None where the system does not say."""
    free = free_memory()
    return None if free is None else Room("the host's memory", free)
