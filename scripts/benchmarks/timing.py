"""Times several contenders fairly; measures memory."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

Run = Callable[[], Any]


def in_turns(
    contenders: Mapping[str, Run], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each round, by contender.

    Each one runs once untimed. Then all take turns, so that a slow minute of the machine affects
    all of them.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for run in contenders.values():
        run()
    for _ in range(rounds):
        for name, run in contenders.items():
            start = clock()
            run()
            times[name].append(clock() - start)
    return times


def shown(seconds: list[float], factor: float) -> str:
    """The median, with the least in brackets."""
    return f"{statistics.median(seconds) * factor:.1f} ({min(seconds) * factor:.1f})"


def peak_memory() -> int:
    """Peak bytes of the first accelerator, or on a CPU of this process."""
    found = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    if found is None:
        status = Path("/proc/self/status").read_text()
        found = int(status.partition("VmHWM:")[2].split()[0]) * 2**10
    return found


def in_new_process(*changes: str) -> None:
    """Runs this command again, with changed options, where nothing has been allocated before."""
    ended = subprocess.run([sys.executable, *sys.argv, *changes, "--here"], check=False)
    if ended.returncode:
        sys.exit(ended.returncode)
