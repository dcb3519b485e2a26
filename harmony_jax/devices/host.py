"""How many cores and how much memory of the host this process may use.

Linux's control groups (versions 1 and 2) give a container or a job of a batch system its share.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")
_MEMINFO = Path("/proc/meminfo")

# By version of control groups: the limit, what is used, and the field of memory.stat that counts
# the part of it which the kernel gives up when asked.
_MEMORY = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def usable_cores() -> int:
    """Cores of this process's affinity, or of its CPU quota if that is less (rounded up)."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    for folder in _groups("cpu"):
        limit = _numbers(folder / "cpu.max") or [
            *_numbers(folder / "cpu.cfs_quota_us"),
            *_numbers(folder / "cpu.cfs_period_us"),
        ]
        if len(limit) == 2 and limit[0] > 0:
            cores = min(cores, max(1, math.ceil(limit[0] / limit[1])))
    return cores


def free_memory() -> int | None:
    """Bytes that can be allocated without swapping or being killed; None if unknown (not Linux)."""
    available = _field(_MEMINFO, "MemAvailable:")
    if available is None:
        return None
    free = available * 1024
    for folder in _groups("memory"):
        for limit_file, used_file, reclaimable in _MEMORY:
            limit, used = _numbers(folder / limit_file), _numbers(folder / used_file)
            if limit and used:
                reclaimed = _field(folder / "memory.stat", reclaimable) or 0
                free = min(free, max(0, int(limit[0] - used[0]) + reclaimed))
    return free


def _groups(controller: str) -> Iterator[Path]:
    """Folders that may hold limits of this process; not all of them exist.

    The limits of a group hold for the groups in it, so the parents of the process's own group
    count. Inside a container the path may be the host's, which does not exist there; the root is
    the container's own group then.
    """
    try:
        lines = _OWN_GROUPS.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        number, controllers, group = line.split(":", 2)
        if number == "0":
            roots = [_GROUPS, _GROUPS / "unified"]
        elif controller in controllers.split(","):
            roots = [_GROUPS / controller, _GROUPS / controllers]
        else:
            continue
        path = PurePosixPath(group.lstrip("/"))
        yield from (root / place for root in roots for place in (path, *path.parents))


def _numbers(path: Path) -> list[float]:
    """The numbers in a file; none if there is no such file, or no limit ("max")."""
    try:
        return [float(word) for word in path.read_text().split()]
    except (OSError, ValueError):
        return []


def _field(path: Path, name: str) -> int | None:
    """The number behind a name at the beginning of a line."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return None
    return next((int(words[1]) for words in lines if words[0] == name), None)
