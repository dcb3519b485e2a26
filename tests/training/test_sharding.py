"""The same seed gives the same training on any number of devices and processes."""

import json
import os
import socket
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


def test_one_curve_on_any_number_of_devices_and_processes(tmp_path):
    """`hrnet18s_idih256` of reduced size: 20 losses, with dropout and batch statistics.

    Each way takes half a minute to compile: 1 device, 8, 2 fully sharded, 2 processes of 2 each.
    """
    root, cache = tmp_path / "data", tmp_path / "cache"
    write_iharmony4(root, train=28, test=6, size=(90, 80))
    settings = [{"devices": count, "shards": 1} for count in (1, 8)]
    settings.append({"devices": 2, "shards": 2})  # fully sharded
    found = curves(start(root, cache, 8, *settings))
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    both = [
        start(root, cache, 2, {"devices": 0, "shards": 1, "process": [index, 2, coordinator]})
        for index in range(2)
    ]
    first, _ = [curves(process) for process in both]  # the first one prints
    found += first
    assert len(found) == 4
    one = found[0]
    assert np.ptp(one) > 0.3  # it moves
    for curve in found[1:]:
        np.testing.assert_allclose(curve, one, rtol=1e-3)


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
