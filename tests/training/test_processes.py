"""Two processes stop, continue, evaluate and fail together.

All begin with a checkpoint of `trained`, which one process trained on two devices.
"""

import csv
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
from flax import nnx

from harmony_jax import evaluate
from harmony_jax.weights.saved_model import load_model
from harmony_jax.weights.steps import FOLDER, saved_steps
from tests.conftest import DEVICE_COUNT
from tests.made_data import SUBSETS

ROOT = Path(__file__).parents[2]


class Ended(NamedTuple):
    status: int
    output: str


@pytest.fixture(scope="module")
def pair(mini_root, tmp_path_factory):
    """Runs main.py in two processes, of one device each."""
    cache = tmp_path_factory.mktemp("compiled")

    def run(
        workdir: Path,
        *arguments: str,
        root_of_second: Path = mini_root,
        signals: tuple[tuple[str, str], ...] = (),
    ) -> list[Ended]:
        """Runs both to their end; `signals` are the step and signal of each (tests/signalled.py)"""
        with socket.socket() as free:
            free.bind(("localhost", 0))
            coordinator = f"--coordinator=localhost:{free.getsockname()[1]}"
        config = workdir / "tiny_config.py"
        config.write_text("from tests.made_data import tiny_config as get_config\n")
        processes = []
        for index, root in enumerate((mini_root, root_of_second)):
            program = ["-m", "tests.signalled", *signals[index]] if signals else ["main.py"]
            processes.append(
                subprocess.Popen(
                    [
                        *(sys.executable, *program, f"--config={config}", f"--workdir={workdir}"),
                        *(coordinator, "--num_processes=2", f"--process_id={index}"),
                        *(f"--config.data.root={root}", *arguments),
                    ],
                    cwd=ROOT,
                    env={
                        **os.environ,
                        "PYTHONPATH": str(ROOT),
                        # As `trained` was compiled; the last one counts.
                        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} {DEVICE_COUNT}=1",
                        "JAX_COMPILATION_CACHE_DIR": str(cache),
                    },
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
        outputs = [process.communicate(timeout=300)[0] for process in processes]
        return [Ended(p.returncode, o) for p, o in zip(processes, outputs, strict=True)]

    return run


@pytest.fixture
def begun(trained, tmp_path):
    """A workdir as `trained` was at step 7 of 10."""
    shutil.copytree(trained[1] / FOLDER / "7", tmp_path / FOLDER / "7")
    return tmp_path


def test_stopped_and_continued_they_end_as_if_undisturbed(pair, begun, trained, mini_root):
    """SIGTERM and Ctrl-C reach one of them; the result is that of one process."""
    for number, signals, step in (
        (signal.SIGTERM, (("0", "SIGTERM"), ("0", "-")), 8),  # before the first step
        (signal.SIGINT, (("0", "-"), ("9", "SIGINT")), 10),  # after the first of them
    ):
        for ended in pair(begun, signals=signals):
            assert ended.status == 128 + number, ended.output
            assert f"stopped after step {step} of 10, which is saved" in ended.output
            assert "Traceback" not in ended.output
        assert max(saved_steps(begun / FOLDER)) == step
    for ended in pair(begun, "--config.evaluation.resize=none"):  # photos of their own sizes
        assert ended.status == 0, ended.output

    whole = trained[1] / FOLDER / "10"
    models = [load_model(folder)[0] for folder in (begun / FOLDER / "10", whole)]
    leaves = [jax.tree.leaves(nnx.state(model)) for model in models]
    for found, expected in zip(*leaves, strict=True):
        np.testing.assert_array_equal(found, expected)
    one = evaluate(whole, mini_root, subsets=SUBSETS, resize="none", batch_size=4)
    with (begun / "evaluation_images.csv").open() as file:
        both = list(csv.DictReader(file))
    assert [image["name"] for image in both] == [image["name"] for image in one]
    for key in ("MSE", "fMSE", "PSNR", "SSIM", "composite_MSE"):
        numbers = [float(image[key]) for image in both]
        np.testing.assert_allclose(numbers, [image[key] for image in one], rtol=1e-5)


def test_all_end_with_the_reason_of_the_one_that_fails(pair, begun, mini_root):
    """One cannot read its photos, while the other waits for it in a step."""
    damaged = begun / "damaged"
    shutil.copytree(mini_root, damaged)
    for photo in damaged.glob("*/real_images/train*.jpg"):
        photo.write_bytes(photo.read_bytes()[:-40])
    for ended in pair(begun, root_of_second=damaged):
        assert ended.status == 1
        (line,) = [line for line in ended.output.splitlines() if "error" in line]
        assert line.startswith(f"error: process 1: {damaged}")
        assert "damaged JPEG" in line
        assert "Traceback" not in ended.output
