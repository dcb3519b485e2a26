"""How many cores of the host this process may use."""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Cores that the scheduler lets this process have: its affinity, cut down to its quota.

    A batch system gives a job some of the cores, a container some of their time (the CPU bandwidth
    of Linux's control groups, versions 1 and 2); of a part of a core counts the whole.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return min([cores, *(max(1, math.ceil(quota)) for quota in _quotas())])


def _quotas() -> Iterator[float]:
    """The limits of the groups that the process is in, each in cores."""
    try:
        lines = _OWN_CGROUPS.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        number, controllers, group = line.split(":", 2)
        if number == "0":
            roots = [_CGROUPS, _CGROUPS / "unified"]
        elif "cpu" in controllers.split(","):
            roots = [_CGROUPS / "cpu", _CGROUPS / controllers]
        else:
            continue
        # A limit of a group is one of all groups in it. In a container the path may be that of the
        # host, which is not there; the root is the container's own group then.
        path = PurePosixPath(group.lstrip("/"))
        for root in roots:
            for place in [path, *path.parents]:
                quota = _quota(root / place)
                if quota is not None:
                    yield quota


def _quota(folder: Path) -> float | None:
    """The limit of one group; None: there is none, or no such group."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = (
                (folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")
            )
        return float(quota) / float(period) if quota != "max" and float(quota) > 0 else None
    except (OSError, ValueError):
        return None
