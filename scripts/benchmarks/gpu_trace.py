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
    """One step on one GPU."""

    kernels: float
    busy: float  # seconds in which at least one kernel or copy ran


def read_trace(folder: Path, steps: int) -> GpuTrace | None:
    """Reads `jax.profiler.trace`'s folder of `steps` steps alone; None if there is no GPU."""
    files = folder.glob("plugins/profile/*/*.xplane.pb")
    planes = [plane for path in files for plane in ProfileData.from_file(str(path)).planes]
    gpus = [plane for plane in planes if plane.name.startswith("/device:GPU")]
    if not gpus:
        return None
    kernels, busy = 0, 0.0
    for gpu in gpus:
        lines = [line for line in gpu.lines if line.name.startswith(_STREAMS)]
        end = 0.0
        for event in sorted((e for line in lines for e in line.events), key=lambda e: e.start_ns):
            kernels += not event.name.startswith(_NO_KERNELS)
            stop = event.start_ns + event.duration_ns
            busy += max(0.0, stop - max(event.start_ns, end))  # streams overlap
            end = max(end, stop)
    count = steps * len(gpus)
    return GpuTrace(kernels / count, busy * 1e-9 / count)
