"""How many cores of the host this process may use."""

import math
import os
from pathlib import Path

from harmony_jax.devices import control_groups


def usable_cores() -> int:
    """Cores that the scheduler lets this process have: its affinity, cut down to its quota.

    A batch system gives a job some of the cores, a container some of their time (the CPU bandwidth
    of Linux's control groups, versions 1 and 2); of a part of a core counts the whole.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quotas = map(_quota, control_groups.folders("cpu"))
    return min([cores, *(max(1, math.ceil(quota)) for quota in quotas if quota is not None)])


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
