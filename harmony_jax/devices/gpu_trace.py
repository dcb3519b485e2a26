"""What a GPU ran in some steps, and how it was launched: from a trace of JAX's profiler."""

from pathlib import Path
from typing import NamedTuple

from jax.profiler import ProfileData

_STREAMS = "Stream"  # begins the names of the lines that hold what ran, other lines repeat it
_NO_KERNELS = ("Memcpy", "Memset")
# Calls of CUDA, by the driver's and the runtime's names.
_GRAPH_LAUNCHES = ("cuGraphLaunch", "cudaGraphLaunch")
_KERNEL_LAUNCHES = ("cuLaunchKernel", "cudaLaunchKernel")


class GpuTrace(NamedTuple):
    """Of one step on one GPU.

    Attributes:
        kernels: that ran, those of graphs too.
        copies: and fillings of memory.
        busy: seconds in which at least one of these ran.
        graph_launches: of CUDA graphs.
        kernel_launches: of kernels that are in no graph.
    """

    kernels: float
    copies: float
    busy: float
    graph_launches: float
    kernel_launches: float


def read_trace(folder: Path, steps: int) -> GpuTrace | None:
    """Reads this process's trace in a folder; None where it has no GPU.

    Args:
        folder: that `jax.profiler.trace` was given.
        steps: that were traced, and nothing else.
    """
    files = folder.glob("plugins/profile/*/*.xplane.pb")
    traces = [ProfileData.from_file(str(path)) for path in files]
    planes = [plane for trace in traces for plane in trace.planes]
    gpus = [plane for plane in planes if plane.name.startswith("/device:GPU")]
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
    calls = [
        event.name
        for plane in planes
        if not plane.name.startswith("/device:")
        for line in plane.lines
        for event in line.events
    ]
    ran = sum(len(events) for events in streams)
    copies = sum(name.startswith(_NO_KERNELS) for events in streams for name, _, _ in events)
    share = 1 / (steps * len(gpus))
    return GpuTrace(
        (ran - copies) * share,
        copies * share,
        sum(_covered(events) for events in streams) * 1e-9 * share,
        sum(name.startswith(_GRAPH_LAUNCHES) for name in calls) * share,
        sum(name.startswith(_KERNEL_LAUNCHES) for name in calls) * share,
    )


def _covered(events: list[tuple[str, float, float]]) -> float:
    """Nanoseconds from their starts to their ends, where they overlap once."""
    covered, end = 0.0, 0.0
    for _, start, stop in sorted(events, key=lambda event: event[1]):
        covered += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return covered
