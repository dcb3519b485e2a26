"""The same seed gives the same training on any number of devices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.conftest import DEVICE_COUNT
from tests.made_data import write_iharmony4

ROOT = Path(__file__).parents[2]


def test_one_curve_on_any_number_of_devices(tmp_path):
    """10 losses with dropout and batch statistics: on one device, on four in pairs that share a
    copy of the state, and on eight that share one.

    `test_processes.py` compares processes with one, bit by bit.
    """
    write_iharmony4(tmp_path, train=28, test=6)
    settings = [{"devices": n, "shards": shards} for n, shards in ((1, 1), (4, 2), (8, 8))]
    result = subprocess.run(
        [sys.executable, "-m", "tests.loss_curve", str(tmp_path), *map(json.dumps, settings)],
        cwd=ROOT,
        # The last one counts.
        env=os.environ | {"XLA_FLAGS": f"{os.environ['XLA_FLAGS']} {DEVICE_COUNT}=8"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    lines = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    one, *others = (line["losses"] for line in lines)
    assert len(others) == 2
    assert np.ptp(one) > 0.1  # it moves
    for losses in others:
        np.testing.assert_allclose(losses, one, rtol=1e-3)
