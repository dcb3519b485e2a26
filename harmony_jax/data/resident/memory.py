"""Whether samples fit into the memory of devices or the host, checked before any is decoded."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from harmony_jax.devices.host_memory import free_memory
from harmony_jax.errors import InputError

_SIZE_STEP = 8  # pixels, of the sizes that are suggested
_GPU_SHARE = "XLA_PYTHON_CLIENT_MEM_FRACTION"


class Room(NamedTuple):
    """Memory for samples."""

    place: str  # its name
    free: int  # bytes
    reserved: int = 0  # bytes of them that are needed for something else
    more: str = ""  # how to have more


def check_room(
    needed: Callable[[int], int], stored_size: int, placement: str, room: Room | None
) -> None:
    """Raises InputError, which says what would fit, unless the samples do.

    `needed` says the bytes of the samples, by the size they are stored at. An unknown room is not
    checked.
    """
    if room is None or needed(stored_size) + room.reserved <= room.free:
        return
    sizes = range(stored_size // _SIZE_STEP * _SIZE_STEP, 0, -_SIZE_STEP)
    largest = next((side for side in sizes if needed(side) + room.reserved <= room.free), 0)
    ways = [
        "more devices",
        f"data.resident_size={largest} (the largest that fits)" if largest else "",
        room.more,
        "data.placement=host" if placement == "device" else "",
        "or data.placement=stream",
    ]
    step = f" beside {room.reserved / 1e9:,.1f} GB for the training step" if room.reserved else ""
    raise InputError(
        f"data.placement {placement}: the training set at data.resident_size {stored_size} needs "
        f"{needed(stored_size) / 1e9:,.1f} GB of {room.place}{step}, and {room.free / 1e9:,.1f} GB "
        f"are free: use {', '.join(filter(None, ways))}"
    )


def device_room(device: Any, count: int, reserved: int) -> Room | None:
    """What one of so many devices has, or all if they share the host's memory; None: unknown."""
    if device.platform == "cpu":
        room = host_room()
        return room and room._replace(reserved=reserved * count)
    stats = device.memory_stats() or {}
    if "bytes_limit" not in stats:
        return None
    free, more = stats["bytes_limit"] - stats["bytes_in_use"], ""
    if device.platform == "gpu" and not os.environ.get(_GPU_SHARE):
        more = f"the environment variable {_GPU_SHARE}=0.95 (JAX takes 0.75 of a GPU's memory)"
    return Room(f"each device's memory ({device.device_kind})", free, reserved, more)


def host_room() -> Room | None:
    """What the host has; None where the system does not say."""
    free = free_memory()
    return None if free is None else Room("the host's memory", free)
