"""What a cluster's launcher tells each process that it starts, in environment variables."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from harmony_jax.errors import InputError

_DEVICE_FILES = Path("/dev")


class Launched(NamedTuple):
    """A process among those that a launcher started.

    Attributes:
        launcher: its command.
        total, rank: how many processes there are, and which one this is, from 0.
        local_total, local_rank: the same of those on this host.
        is_bound: whether it sees no other process's GPUs.
    """

    launcher: str
    total: int
    rank: int
    local_total: int
    local_rank: int
    is_bound: bool = False


def launched(variables: Mapping[str, str] = os.environ) -> Launched | None:
    """This process among several that Slurm's srun or Open MPI's mpirun started.

    None if it is alone, as in the shell of `salloc` and in a batch script, which have variables of
    Slurm too.
    """
    found = None
    if "SLURM_STEP_NUM_TASKS" in variables:
        on_hosts = variables.get("SLURM_STEP_TASKS_PER_NODE") or variables["SLURM_STEP_NUM_TASKS"]
        found = Launched(
            "srun",
            int(variables["SLURM_STEP_NUM_TASKS"]),
            int(variables["SLURM_PROCID"]),
            _tasks_by_host(on_hosts)[int(variables.get("SLURM_NODEID", "0"))],
            int(variables["SLURM_LOCALID"]),
            is_bound="SLURM_GPUS_PER_TASK" in variables,
        )
    elif "OMPI_COMM_WORLD_SIZE" in variables:
        names = ("SIZE", "RANK", "LOCAL_SIZE", "LOCAL_RANK")
        total, rank, local_total, local_rank = (
            int(variables[f"OMPI_COMM_WORLD_{name}"]) for name in names
        )
        found = Launched("mpirun", total, rank, local_total, local_rank)
    return found if found and found.total > 1 else None


def _tasks_by_host(text: str) -> list[int]:
    """The tasks of each host, of which Slurm writes `2(x3),1` for 2, 2, 2 and 1."""
    counts = []
    for part in text.split(","):
        tasks, _, times = part.rstrip(")").partition("(x")
        counts += [int(tasks)] * int(times or 1)
    return counts


def own_gpus(process: Launched, variables: Mapping[str, str] = os.environ) -> list[int]:
    """Which of the GPUs that a process sees are its own; empty: all of them, or there is none.

    Several processes on a host share its GPUs evenly, unless the launcher gave each its own.
    """
    visible = variables.get("CUDA_VISIBLE_DEVICES")
    gpus = len(visible.split(",")) if visible else len([*_DEVICE_FILES.glob("nvidia[0-9]*")])
    if process.local_total == 1 or process.is_bound or gpus <= 1:
        return []
    if gpus % process.local_total:
        raise InputError(
            f"{process.launcher} started {process.local_total} processes on a host with {gpus} "
            "GPUs, which they cannot share evenly: start one a host, or one a GPU"
        )
    each = gpus // process.local_total
    return list(range(process.local_rank * each, (process.local_rank + 1) * each))
