"""What a GPU ran in some steps: from a trace of JAX's profiler.

While it is traced, XLA launches the kernels of CUDA graphs one by one, so that a trace does not say
how a step is launched (`planning/gpu_program.py` does).
"""

from pathlib import Path
from typing import NamedTuple

from jax.profiler import ProfileData

_STREAMS = "Stream"  # begins the names of the lines that hold what ran, other lines repeat it
_NO_KERNELS = ("Memcpy", "Memset")


class GpuTrace(NamedTuple):
    """Of one step on one GPU.

    Attributes:
        kernels: that ran.
        copies: and fillings of memory.
        busy: seconds in which at least one of these ran.
    """

    kernels: float
    copies: float
    busy: float


def read_trace(folder: Path, steps: int) -> GpuTrace | None:
    """Reads this process's trace in a folder; None where it has no GPU.

    Args:
        folder: that `jax.profiler.trace` was given.
        steps: that were traced, and nothing else.
    """
    files = folder.glob("plugins/profile/*/*.xplane.pb")
    traces = [ProfileData.from_file(str(path)) for path in files]
    gpus = [
        plane for trace in traces for plane in trace.planes if plane.name.startswith("/device:GPU")
    ]
    if not gpus:
        return None
    streams = [
        [
            (event.name, event.start_ns, event.start_ns + event.duration_ns)
            for line in plane.lines
            if line.name.startswith(_STREAMS)
            for event in line.events
        ]
        for plane in gpus
    ]
    ran = sum(len(events) for events in streams)
    copies = sum(name.startswith(_NO_KERNELS) for events in streams for name, _, _ in events)
    share = 1 / (steps * len(gpus))
    return GpuTrace(
        (ran - copies) * share,
        copies * share,
        sum(_covered(events) for events in streams) * 1e-9 * share,
    )


def _covered(events: list[tuple[str, float, float]]) -> float:
    """Nanoseconds from their starts to their ends, where they overlap once."""
    covered, end = 0.0, 0.0
    for _, start, stop in sorted(events, key=lambda event: event[1]):
        covered += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return covered
