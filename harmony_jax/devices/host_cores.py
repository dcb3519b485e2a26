"""How many cores of the host this process may use."""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Cores of this process's affinity, or of its CPU quota if that is less (rounded up)."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    for folder in control_groups("cpu"):
        limit = numbers_in(folder / "cpu.max") or [
            *numbers_in(folder / "cpu.cfs_quota_us"),
            *numbers_in(folder / "cpu.cfs_period_us"),
        ]
        if len(limit) == 2 and limit[0] > 0:
            cores = min(cores, max(1, math.ceil(limit[0] / limit[1])))
    return cores


def control_groups(controller: str) -> Iterator[Path]:
    """Folders of Linux's control groups that may limit this process; not all of them exist.

    The groups (of version 1 or 2) give a container or a job of a batch system its share. The limits
    of a group hold for the groups in it, so the parents of the process's own group count. Inside a
    container the path may be the host's, which does not exist there; the root is the container's
    own group then.
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


def numbers_in(path: Path) -> list[float]:
    """The numbers in a file; none if there is no such file, or no limit ("max")."""
    try:
        return [float(word) for word in path.read_text().split()]
    except (OSError, ValueError):
        return []
