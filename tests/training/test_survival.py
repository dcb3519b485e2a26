"""A training that is killed, stopped or damaged goes on as if nothing had happened."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from harmony_jax.weights.saved_model import load_model
from harmony_jax.weights.steps import FOLDER
from tests.test_main import ROOT, small

STEPS = 21


@pytest.fixture(scope="module")
def command(mini_root, tmp_path_factory):
    """Starts the same training in any workdir, of 21 steps with a checkpoint every other one."""
    cache = tmp_path_factory.mktemp("compiled")

    def start(workdir: Path) -> subprocess.Popen:
        return subprocess.Popen(
            [
                sys.executable,
                "main.py",
                *small(mini_root, workdir),
                "--config.train.epochs=7",
                "--config.optimizer.milestones=(4,)",
                "--config.checkpoint.every_epochs=1",
                "--config.evaluation.every_epochs=3",
                "--config.evaluation.batch_size=4",
                "--config.checkpoint.keep_newest=3",
            ],
            cwd=ROOT,
            env={**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)},
            stdout=subprocess.PIPE,  # kept open by a worker that outlives its parent
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


def finish(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def wait_for(condition, process: subprocess.Popen) -> None:
    """Until the condition holds, looking often: the moment matters."""
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.0005)


def result(workdir: Path, step: int = STEPS) -> list[np.ndarray]:
    model, _ = load_model(workdir / FOLDER / str(step))
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(model))]


@pytest.fixture(scope="module")
def whole(command, tmp_path_factory):
    """The workdir of the training that nobody disturbed."""
    workdir = tmp_path_factory.mktemp("whole")
    finish(command(workdir))
    return workdir


def assert_same_result(workdir: Path, whole: Path) -> None:
    for found, expected in zip(result(workdir), result(whole), strict=True):
        np.testing.assert_array_equal(found, expected)
    images = "evaluation_images.csv"
    assert (workdir / images).read_text() == (whole / images).read_text()


def test_killed_at_any_moment_the_same_command_ends_with_the_same_parameters(
    command, whole, tmp_path
):
    folder = tmp_path / FOLDER
    moments = (
        lambda: folder.exists() and any("tmp" in path.name for path in folder.iterdir()),  # saving
        lambda: (folder / "9").exists(),  # a checkpoint has just been finished
        lambda: (folder / "15").exists() and not (folder / "6").exists(),  # old ones were removed
    )
    for moment in moments:
        process = command(tmp_path)
        wait_for(moment, process)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=20)  # ends when the last worker has ended
    output = finish(command(tmp_path))
    assert "Continuing after step" in output
    assert_same_result(tmp_path, whole)
    assert not [path for path in folder.iterdir() if "tmp" in path.name]


def test_sigterm_saves_and_the_same_command_continues(command, whole, tmp_path):
    process = command(tmp_path)
    wait_for((tmp_path / "config.json").exists, process)  # from here signals are waited for
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in output
    stopped = r"^stopped after step (\d+) of 21, which is saved: the same command continues$"
    step = re.search(stopped, output, re.MULTILINE)[1]
    assert (tmp_path / FOLDER / step).exists()
    assert f"Continuing after step {step}" in finish(command(tmp_path))
    assert_same_result(tmp_path, whole)


def test_of_damaged_checkpoints_the_newest_intact_one_is_used(command, whole, tmp_path):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    files = (tmp_path / FOLDER / "21" / "model" / "d").iterdir()
    largest = max(files, key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-100])
    output = finish(command(tmp_path))
    assert f"{FOLDER}/21: damaged checkpoint" in output
    assert f"moved to {tmp_path}/damaged/21" in output
    assert "Continuing after step 18" in output
    for found, expected in zip(result(tmp_path), result(whole), strict=True):
        np.testing.assert_array_equal(found, expected)
