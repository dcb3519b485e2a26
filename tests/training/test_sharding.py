"""The same seed gives the same training on any number of devices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import DEVICE_COUNT
from tests.made_data import write_iharmony4

ROOT = Path(__file__).parents[2]


def start(root: Path, cache: Path, devices: int, *settings: dict) -> subprocess.Popen:
    """`tests/loss_curve.py` in a process with so many simulated devices."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.loss_curve", str(root), *map(json.dumps, settings)],
        cwd=ROOT,
        env={
            **os.environ,
            # The last one counts.
            "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} {DEVICE_COUNT}={devices}",
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        },
        stdout=subprocess.PIPE,
        text=True,
    )


def curves(process: subprocess.Popen) -> list[list[float]]:
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0
    lines = [line for line in output.splitlines() if line.startswith("{")]
    return [json.loads(line)["losses"] for line in lines]


def test_one_curve_on_any_number_of_devices(tmp_path):
    """`hrnet18s_idih256` of reduced size: 10 losses, with dropout and batch statistics.

    On one device, and fully sharded over eight; `test_processes.py` compares processes with one,
    bit by bit, and `test_step.py` a divided state with a whole one.
    """
    root = tmp_path / "data"
    write_iharmony4(root, train=28, test=6, size=(90, 80))
    settings = {"devices": 1, "shards": 1}, {"devices": 8, "shards": 8}
    one, divided = curves(start(root, tmp_path / "cache", 8, *settings))
    assert np.ptp(one) > 0.1  # it moves
    np.testing.assert_allclose(divided, one, rtol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--coordinator=localhost:1"], "pass all three, or none of them"),
        (
            ["--coordinator=nowhere", "--num_processes=2", "--process_id=0"],
            "--coordinator 'nowhere': expected HOST:PORT",
        ),
        (
            ["--coordinator=localhost:1", "--num_processes=2", "--process_id=2"],
            "--process_id 2: must be from 0 to --num_processes less one (1)",
        ),
    ],
)
def test_processes_that_cannot_be(arguments, message):
    command = [sys.executable, "main.py", "--config=configs/demo.py", "--workdir=x", *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
