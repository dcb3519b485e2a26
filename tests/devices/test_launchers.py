"""Variables as launchers set them, copied from real jobs."""

import os
import socket
import subprocess
import sys

import pytest

from harmony_jax import InputError
from harmony_jax.devices import launchers
from harmony_jax.devices.launchers import Launched, launched, own_gpus
from tests.commands import ROOT

SRUN = {
    "SLURM_JOB_ID": "81234",
    "SLURM_NTASKS": "8",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_NODELIST": "gpu[003-004]",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
    "SLURM_NODEID": "1",
    "SLURM_PROCID": "6",
    "SLURM_LOCALID": "2",
}
# A batch script has SLURM_PROCID too, but is no step; the shell of salloc is a step of one task.
BATCH = {"SLURM_JOB_ID": "81234", "SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
SALLOC = {**BATCH, "SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_TASKS_PER_NODE": "1"}
MPIRUN = {
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (SRUN, Launched("srun", 8, 6, 4, 2)),
        (SRUN | {"SLURM_GPUS_PER_TASK": "2"}, Launched("srun", 8, 6, 4, 2, is_bound=True)),
        (
            SRUN | {"SLURM_STEP_TASKS_PER_NODE": "3(x2),2", "SLURM_NODEID": "2"},
            Launched("srun", 8, 6, 2, 2),
        ),
        (BATCH, None),
        (SALLOC, None),
        (MPIRUN, Launched("mpirun", 4, 3, 2, 1)),
        (MPIRUN | {"OMPI_COMM_WORLD_SIZE": "1"}, None),
        ({}, None),
    ],
)
def test_who_started_it(variables, expected):
    assert launched(variables) == expected


@pytest.mark.parametrize(
    ("local", "visible", "expected"),
    [
        (Launched("srun", 8, 6, 4, 2), "0,1,2,3", [2]),
        (Launched("srun", 8, 6, 4, 2), "0,1,2,3,4,5,6,7", [4, 5]),
        (Launched("srun", 2, 1, 1, 0), "0,1,2,3,4,5,6,7", []),  # one a host has all
        (Launched("srun", 8, 6, 4, 2), "6", []),  # its own alone
        (Launched("srun", 4, 2, 2, 1, is_bound=True), "0,1,2,3", []),
    ],
)
def test_processes_of_a_host_share_its_gpus(local, visible, expected):
    assert own_gpus(local, {"CUDA_VISIBLE_DEVICES": visible}) == expected


def test_without_the_variable_the_devices_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(launchers, "_DEVICE_FILES", tmp_path)
    process = Launched("mpirun", 2, 1, 2, 1)
    assert own_gpus(process, {}) == []
    for name in ("nvidia0", "nvidia1", "nvidia2", "nvidiactl"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match="mpirun started 2 processes on a host with 3 GPUs"):
        own_gpus(process, {})
    (tmp_path / "nvidia3").touch()
    assert own_gpus(process, {}) == [2, 3]


JOIN = """
import sys
from harmony_jax.devices.distributed import join_processes
join_processes(sys.argv[1] or None, None, None)
import jax
print(jax.process_count(), jax.process_index(), jax.local_device_count(), jax.device_count())
"""


@pytest.mark.parametrize("variables", ["srun", "srun without a common host", "mpirun"])
def test_two_processes_find_each_other(variables):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    coordinator = "" if variables == "srun" else f"localhost:{port}"
    processes = []
    for rank in range(2):
        if variables == "mpirun":
            names = {"SIZE": 2, "RANK": rank, "LOCAL_SIZE": 2, "LOCAL_RANK": rank}
            own = {f"OMPI_COMM_WORLD_{name}": str(value) for name, value in names.items()}
        else:
            tasks = {"SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2"}
            own = SRUN | tasks | {"SLURM_STEP_TASKS_PER_NODE": "2", "SLURM_NODEID": "0"}
            own |= {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)}
            # JAX derives the port from the job.
            own |= {"SLURM_STEP_NODELIST": "localhost", "SLURM_JOB_ID": str(os.getpid())}
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", JOIN, coordinator],
                env=os.environ | {"PYTHONPATH": str(ROOT)} | own,
                cwd=ROOT,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    for rank, process in enumerate(processes):
        assert process.communicate(timeout=120)[0].split() == ["2", str(rank), "2", "4"]


def test_a_launchers_variables_take_no_device_from_a_process_that_is_alone():
    result = subprocess.run(
        [sys.executable, "-c", JOIN, ""],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | SALLOC,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.stdout.split() == ["1", "0", "2", "2"], result.stderr
