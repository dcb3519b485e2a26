"""Whole trainings of a few steps: what they leave, and how they go on."""

import json
import logging
import shutil

import pytest

from harmony_jax import InputError
from harmony_jax.training.loop import train
from harmony_jax.weights.checkpoint import Checkpoints
from harmony_jax.weights.steps import FOLDER, saved_steps
from tests.made_data import tiny_config, write_iharmony4


def test_a_run_leaves_checkpoints_curves_pictures_and_the_evaluation(trained):
    _, workdir = trained
    checkpoints = Checkpoints(workdir / FOLDER)
    assert checkpoints.newest_step() == 10  # 4 epochs of 10 samples in batches of 4
    assert checkpoints.metadata(10)["model"]["name"] == "improved_dih256"
    checkpoints.close()
    assert list((workdir / "tensorboard").iterdir())
    assert (workdir / "evaluation.png").stat().st_size > 1000
    evaluation = json.loads((workdir / "evaluation.json").read_text())
    assert evaluation["model"]["All"]["N"] == evaluation["composite"]["All"]["N"] == 6


def test_a_finished_workdir_is_left_as_it_is(trained):
    config, workdir = trained

    def files():
        found = (path for path in workdir.rglob("*") if path.is_file() and path.name != ".lock")
        return {path: path.stat().st_mtime_ns for path in found}

    before = files()
    train(config, workdir)
    assert files() == before


def test_continuing_with_another_model_is_refused(trained):
    config, workdir = trained
    other = config.copy_and_resolve_references()
    other.model.channels = 4
    with pytest.raises(InputError, match=r"checkpoints/10: .*model\.channels 8 .* 4"):
        train(other, workdir)


def test_more_epochs_continue_and_are_evaluated(trained, tmp_path):
    config, workdir = trained
    shutil.copytree(workdir, tmp_path / "1")  # a workdir with the name of a step
    config = config.copy_and_resolve_references()
    config.train.epochs = 6
    train(config, tmp_path / "1")
    checkpoints = Checkpoints(tmp_path / "1" / FOLDER)
    assert checkpoints.newest_step() == 15
    checkpoints.close()
    assert (tmp_path / "1" / "evaluation.json").exists()
    assert (tmp_path / "1" / "evaluation.1.json").exists()


@pytest.mark.parametrize(
    ("section", "field", "value", "message"),
    [
        ("train", "batch_size", 3, r"train\.batch_size 3"),
        ("loss", "name", "l1", r"loss\.name 'l1'"),
        ("evaluation", "split", "holdout", r"evaluation\.split 'holdout'"),
    ],
)
def test_invalid_fields(mini_root, tmp_path, section, field, value, message):
    config = tiny_config(mini_root)
    config[section][field] = value
    with pytest.raises(InputError, match=message):
        train(config, tmp_path / "workdir")
    assert not list(tmp_path.rglob("checkpoints/*"))


def test_the_end_is_saved_even_if_nothing_else_is(mini_root, tmp_path):
    config = tiny_config(mini_root)
    config.train.epochs = 1
    config.evaluation.every_epochs = 0
    config.checkpoint.every_epochs = 0
    train(config, tmp_path)
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["3"]  # nothing is held out
    assert (tmp_path / "evaluation.json").exists()


def test_checkpoints_by_the_clock(mini_root, tmp_path):
    config = tiny_config(mini_root)
    config.train.epochs = 2
    config.train.log_every_steps = 2
    config.evaluation.every_epochs = 0
    config.checkpoint.every_epochs = 0
    config.checkpoint.every_minutes = 1e-6
    config.checkpoint.keep_newest = 10
    train(config, tmp_path)
    assert saved_steps(tmp_path / FOLDER) == [2, 4, 6, 7]


def test_unreadable_samples_are_replaced_counted_and_listed(tmp_path, caplog):
    write_iharmony4(tmp_path / "data", train=8, test=4)
    photo = tmp_path / "data" / "HCOCO" / "real_images" / "train000.jpg"
    photo.write_bytes(photo.read_bytes()[:-50])
    config = tiny_config(tmp_path / "data")
    config.data.validation_fraction = 0.0
    config.evaluation.every_epochs = 0
    config.train.epochs = 2
    config.train.batch_size = 2
    with pytest.raises(InputError, match=r"train000\.jpg: damaged JPEG"):
        train(config, tmp_path / "error")
    config.data.unreadable = "skip"
    with caplog.at_level(logging.WARNING, "harmony_jax"):
        train(config, tmp_path / "skip")
    text = caplog.text
    assert text.count("2 training samples could not be read; others stood in:") == 2  # epochs
    assert "HCOCO/train000_1_0.jpg: " in text
    assert "HCOCO/train000_1_1.jpg: " in text
    assert "damaged JPEG" in text
