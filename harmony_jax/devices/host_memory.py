"""The host's memory: how much of it this process may take, and how it is allocated."""

import ctypes
import importlib.metadata
import importlib.util
import os
import platform
from pathlib import Path

from harmony_jax.devices.host_cores import control_groups, numbers_in

_MEMINFO = Path("/proc/meminfo")
# By version of control groups: the limit, what is used, and the field of memory.stat that counts
# the part of it which the kernel gives up when asked.
_MEMORY = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)

# From <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8

_DEVICE_FILES = Path("/dev")
# TPUs, NVIDIA's GPUs, the same under Windows, and AMD's.
_ACCELERATORS = ("accel[0-9]*", "vfio/[0-9]*", "nvidia[0-9]*", "dxg", "kfd")


def free_memory() -> int | None:
    """Bytes that can be allocated without swapping or being killed; None if unknown (not Linux)."""
    available = _field(_MEMINFO, "MemAvailable:")
    if available is None:
        return None
    free = available * 1024
    for folder in control_groups("memory"):
        for limit_file, used_file, reclaimable in _MEMORY:
            limit, used = numbers_in(folder / limit_file), numbers_in(folder / used_file)
            if limit and used:
                reclaimed = _field(folder / "memory.stat", reclaimable) or 0
                free = min(free, max(0, int(limit[0] - used[0]) + reclaimed))
    return free


def keep_freed_memory() -> bool:
    """Tells glibc to keep freed memory for the next step, if a CPU computes the steps.

    A step on a CPU allocates and frees hundreds of megabytes. By default the kernel maps each large
    block anew and clears its pages, which takes a quarter of the step (docs/performance.md). Where
    an accelerator computes, the host's memory is for data, and the allocator stays as it is. Call
    this before JAX starts its backend: its threads choose their arena for good.

    Returns:
        Whether the allocator took the settings.
    """
    if platform.libc_ver()[0] != "glibc" or _accelerator_expected():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # One arena: others cannot hold blocks of this size without mapping them.
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_ARENA_MAX, 1))
    return all(mallopt(name, value) == 1 for name, value in settings)


def _accelerator_expected() -> bool:
    """Whether JAX will use one: it has the device and a plugin, and `JAX_PLATFORMS` allows it."""
    platforms = os.environ.get("JAX_PLATFORMS")
    if platforms:
        return not platforms.startswith("cpu")
    devices = any(any(_DEVICE_FILES.glob(pattern)) for pattern in _ACCELERATORS)
    return devices and bool(
        importlib.metadata.entry_points(group="jax_plugins") or importlib.util.find_spec("libtpu")
    )


def _field(path: Path, name: str) -> int | None:
    """The number behind a name at the beginning of a line."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return None
    return next((int(words[1]) for words in lines if words[0] == name), None)
