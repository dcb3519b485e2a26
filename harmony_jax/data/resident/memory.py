"""Whether samples fit into the memory of devices or the host, checked before any is decoded."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from harmony_jax.devices.host_memory import free_memory
from harmony_jax.errors import InputError

_SIZE_STEP = 8  # pixels, of the sizes that are suggested

# The share of a GPU's memory that JAX takes; the rest is for the driver and libraries.
_FRACTION_VARIABLE = "XLA_PYTHON_CLIENT_MEM_FRACTION"
_DEFAULT_FRACTION, _FRACTION = 0.75, 0.95


class Room(NamedTuple):
    """Memory for samples, in bytes.

    Attributes:
        place: its name.
        free: of it.
        reserved: of the free memory, needed for something else.
        raised: free, were JAX given more of a GPU's memory; 0 if it cannot be.
    """

    place: str
    free: int
    reserved: int = 0
    raised: int = 0


def check_room(
    needed: Callable[[int], int], stored_size: int, placement: str, room: Room | None
) -> None:
    """Raises InputError, which says what would fit, unless the samples do.

    Args:
        needed: bytes of the samples, by the size they are stored at.
        stored_size: `data.resident_size`.
        placement: `data.placement`.
        room: where they are to go; None: unknown, and not checked.
    """
    if room is None or needed(stored_size) + room.reserved <= room.free:
        return

    def largest(free: int) -> int:
        sizes = range(stored_size // _SIZE_STEP * _SIZE_STEP, 0, -_SIZE_STEP)
        return next((side for side in sizes if needed(side) + room.reserved <= free), 0)

    ways = ["more devices"]
    if side := largest(room.free):
        ways.append(f"data.resident_size={side} (the largest that fits)")
    if side := largest(room.raised):
        ways.append(
            f"the environment variable {_FRACTION_VARIABLE}={_FRACTION} (now "
            f"{_memory_fraction():g}), with which data.resident_size={side} fits"
        )
    ways += ["data.placement=host"] if placement == "device" else []
    step = f" beside {room.reserved / 1e9:,.1f} GB for the training step" if room.reserved else ""
    raise InputError(
        f"data.placement {placement}: the training set at data.resident_size {stored_size} needs "
        f"{needed(stored_size) / 1e9:,.1f} GB of {room.place}{step}, and {room.free / 1e9:,.1f} GB "
        f"are free: use {', or '.join(ways)}, or data.placement=stream"
    )


def device_room(device: Any, count: int, reserved: int) -> Room | None:
    """What one of so many devices has, or all if they share the host's memory; None: unknown."""
    if device.platform == "cpu":
        room = host_room()
        return room and room._replace(reserved=reserved * count)
    stats = device.memory_stats() or {}
    if "bytes_limit" not in stats:
        return None
    free, raised = stats["bytes_limit"] - stats["bytes_in_use"], 0
    if device.platform == "gpu" and _memory_fraction() < _FRACTION:
        raised = free + int(stats["bytes_limit"] * (_FRACTION / _memory_fraction() - 1))
    return Room(f"each device's memory ({device.device_kind})", free, reserved, raised)


def _memory_fraction() -> float:
    try:
        return float(os.environ.get(_FRACTION_VARIABLE) or _DEFAULT_FRACTION)
    except ValueError:
        return 1.0


def host_room() -> Room | None:
    """What the host has; None where the system does not say."""
    free = free_memory()
    return None if free is None else Room("the host's memory", free)
