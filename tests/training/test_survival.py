"""A training that is killed, stopped or damaged goes on as if nothing had happened."""

import os
import random
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

from harmony_jax.data.splits import open_split
from harmony_jax.weights.saved_model import load_model
from harmony_jax.weights.steps import FOLDER, saved_steps
from tests.training.forked import FAULTS, STEPS, config_of, start, status

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("HARMONY_JAX_KILLS", "6"))
INPUT_ERROR, STOPPED = 1, 128 + signal.SIGTERM
STATUS = {fault: STOPPED if fault.startswith("SIGTERM") else INPUT_ERROR for fault in FAULTS}


def result(workdir: Path, step: int = STEPS) -> list[np.ndarray]:
    model, _ = load_model(workdir / FOLDER / str(step))
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(model))]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module")
def whole(mini_root, cache, tmp_path_factory):
    """The workdir of the training that nobody disturbed."""
    workdir = tmp_path_factory.mktemp("whole")
    assert status(start(mini_root, workdir, cache)) == 0, (workdir / "log.txt").read_text()
    return workdir


def assert_same_result(workdir: Path, whole: Path) -> None:
    for found, expected in zip(result(workdir), result(whole), strict=True):
        np.testing.assert_array_equal(found, expected)
    images = "evaluation_images.csv"  # of the best checkpoint
    assert (workdir / images).read_text() == (whole / images).read_text()


def log(workdir: Path) -> str:
    return (workdir / "log.txt").read_text()


def test_killed_at_any_moment_the_same_command_ends_with_the_same_parameters(
    mini_root, cache, whole, tmp_path
):
    """Kills at random moments, most of them while steps are made, saved or validated."""
    moments, kills = random.Random(0), 0
    while kills < KILLS:
        folder = tmp_path / str(kills)
        folder.mkdir()
        process = start(mini_root, folder, cache)
        while process.exitcode is None and kills < KILLS:
            before = len(saved_steps(folder / FOLDER))
            while process.is_alive() and len(saved_steps(folder / FOLDER)) == before:
                time.sleep(0.001)
            process.join(moments.uniform(0, 0.3))
            if process.is_alive():
                process.kill()
                process.join()
                kills += 1
                process = start(mini_root, folder, cache)
        assert status(process) == 0, log(folder)
        assert_same_result(folder, whole)
        assert not [path for path in (folder / FOLDER).iterdir() if "tmp" in path.name]


@pytest.mark.parametrize("fault", FAULTS)
def test_after_a_fault_the_same_command_ends_with_the_same_parameters(
    fault, mini_root, cache, whole, tmp_path
):
    workers = 1 if "worker" in fault else 0
    process = start(mini_root, tmp_path, cache, fault, **{"data.num_workers": workers})
    assert status(process) == STATUS[fault], log(tmp_path)
    assert "Traceback" not in log(tmp_path)
    if fault not in ("EIO on a read", "ENOSPC on a write"):
        assert saved_steps(tmp_path / FOLDER)  # within seconds, whatever it was at
    assert status(start(mini_root, tmp_path, cache)) == 0, log(tmp_path)
    assert_same_result(tmp_path, whole)


def test_a_damaged_held_out_photo_costs_no_step(mini_root, cache, whole, tmp_path):
    """Without `skip` the step is saved all the same; with it, training does not stop."""
    root = tmp_path / "data"
    shutil.copytree(mini_root, root)
    config_name = "data.unreadable"
    photo = held_out_photo(root)
    good = photo.read_bytes()
    photo.write_bytes(good[:-50])
    workdir = tmp_path / "stops"
    workdir.mkdir()
    assert status(start(root, workdir, cache)) == INPUT_ERROR
    assert f"{photo}: damaged JPEG" in log(workdir)
    assert max(saved_steps(workdir / FOLDER)) == 5  # of the first validation
    going = tmp_path / "goes on"
    going.mkdir()
    assert status(start(root, going, cache, **{config_name: "skip"})) == 0, log(going)
    assert "held-out images could not be read" in log(going)
    for found, expected in zip(result(going), result(whole), strict=True):
        np.testing.assert_array_equal(found, expected)
    photo.write_bytes(good)
    assert status(start(root, workdir, cache)) == 0, log(workdir)
    assert_same_result(workdir, whole)


def held_out_photo(root: Path) -> Path:
    validation = open_split(config_of(root).data, "validation")
    subset, name = validation.subset(0), validation.name(0)
    return root / subset / "real_images" / f"{name.split('_')[0]}.jpg"


def test_of_damaged_checkpoints_the_newest_intact_one_is_used(mini_root, cache, whole, tmp_path):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    files = (tmp_path / FOLDER / str(STEPS) / "model" / "d").iterdir()
    largest = max(files, key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-100])
    assert status(start(mini_root, tmp_path, cache)) == 0, log(tmp_path)
    assert f"{FOLDER}/{STEPS}: damaged checkpoint" in log(tmp_path)
    assert f"moved to {tmp_path}/damaged/{STEPS}" in log(tmp_path)
    assert "Continuing after step 12" in log(tmp_path)
    for found, expected in zip(result(tmp_path), result(whole), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_the_command_says_that_it_was_stopped_and_continues(mini_root, cache, tmp_path):
    config = tmp_path / "tiny_config.py"
    config.write_text("from tests.made_data import tiny_config as get_config\n")
    command = [
        *(sys.executable, "main.py", f"--config={config}", f"--workdir={tmp_path}"),
        *(f"--config.data.root={mini_root}", "--config.data.num_workers=1"),
        "--config.train.epochs=7",
        "--config.evaluation.every_epochs=0",
    ]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_COMPILATION_CACHE_DIR": str(cache)},
        stdout=subprocess.PIPE,  # kept open by a worker that outlives its parent
        stderr=subprocess.STDOUT,
        text=True,
    )
    while not (tmp_path / "config.json").exists():  # from here signals are waited for
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == STOPPED
    assert "Traceback" not in output
    step = re.search(r"^stopped after step (\d+) of 24, which is saved", output, re.MULTILINE)[1]
    assert (tmp_path / FOLDER / step).exists()
