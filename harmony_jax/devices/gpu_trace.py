"""What a GPU ran in some steps, from a trace of JAX's profiler.

During a trace XLA launches the kernels of CUDA graphs one by one, so a trace does not tell how a
step is launched (`planning/gpu_program.py` does).
"""

from pathlib import Path
from typing import NamedTuple

from jax.profiler import ProfileData

_STREAMS = "Stream"  # the lines with such names hold what ran; other lines repeat it
_NO_KERNELS = ("Memcpy", "Memset")


class GpuTrace(NamedTuple):
    """One step on one GPU.

    Attributes:
        kernels: how many ran.
        copies: how many copies and fillings of memory.
        busy: seconds in which at least one of these ran.
    """

    kernels: float
    copies: float
    busy: float


def read_trace(folder: Path, steps: int) -> GpuTrace | None:
    """Reads a trace that `jax.profiler.trace` wrote; None if there is no GPU.

    It must hold `steps` steps and nothing else.
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
    """Nanoseconds covered by events, which may overlap."""
    covered, end = 0.0, 0.0
    for _, start, stop in sorted(events, key=lambda event: event[1]):
        covered += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return covered
