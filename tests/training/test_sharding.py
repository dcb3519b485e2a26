"""The same seed gives the same training on any number of devices."""

import json
import os

import numpy as np

from tests.commands import run
from tests.conftest import DEVICE_COUNT
from tests.made_data import write_iharmony4


def test_one_curve_on_any_number_of_devices(tmp_path):
    """10 losses with dropout and batch statistics: on one device, on four in pairs that share a
    copy of the state, and on eight that share one.

    `test_processes.py` compares processes with one, bit by bit.
    """
    write_iharmony4(tmp_path, train=28, test=6)
    settings = [{"devices": n, "shards": shards} for n, shards in ((1, 1), (4, 2), (8, 8))]
    program = ("-m", "tests.loss_curve", tmp_path, *map(json.dumps, settings))
    flags = f"{os.environ['XLA_FLAGS']} {DEVICE_COUNT}=8"  # the last one counts
    result = run(*program, XLA_FLAGS=flags)
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    one, *others = (line["losses"] for line in lines)
    assert len(others) == 2
    assert np.ptp(one) > 0.1  # it moves
    for losses in others:
        np.testing.assert_allclose(losses, one, rtol=1e-3)
