import json
import shutil

import jax
import numpy as np
import optax
import pytest
from flax import nnx

from harmony_jax import InputError
from harmony_jax.build import build_model
from harmony_jax.devices.mesh import create_mesh
from harmony_jax.losses import create_loss
from harmony_jax.training.loop import train
from harmony_jax.training.progress import Progress, duration
from harmony_jax.training.step import create_state, make_train_step
from harmony_jax.weights.checkpoint import Checkpoints
from harmony_jax.weights.saved_model import load_model
from harmony_jax.weights.steps import FOLDER
from tests.made_data import tiny_config


def parameters(workdir, step: int) -> list[np.ndarray]:
    model, _ = load_model(workdir / FOLDER / str(step))
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(model))]


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


def test_an_interrupted_training_ends_with_the_same_parameters(trained, tmp_path, monkeypatch):
    config, whole = trained

    class KilledError(Exception):
        pass

    def killed_at_step_8(self, step, metrics, seconds_waited):
        if step == 8:
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "after_step", killed_at_step_8)
        with pytest.raises(KilledError):
            train(config, tmp_path)
    assert Checkpoints(tmp_path / FOLDER).newest_step() in (5, 7)
    train(config, tmp_path)
    for found, expected in zip(parameters(tmp_path, 10), parameters(whole, 10), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.channels": 4}, "trained with model.channels 8 where the config has 4"),
        (
            {"data.image_size": 64, "seed": 3},
            "trained with data.image_size 32 .*; seed 0 where the config has 3",
        ),
        ({"train.batch_size": 2}, "train.batch_size 4 where the config has 2"),
        ({"loss.min_area": 1000.0}, "loss.min_area 100.0 where the config has 1000.0"),
        ({"data.validation_fraction": 0.0}, "data.validation_fraction 0.2"),
        ({"data.random_crop": False}, "data.random_crop True where the config has False"),
        ({"optimizer.name": "adamw"}, "optimizer.name adam where the config has adamw"),
        (
            {"optimizer.freeze": ("encoder.*",)},
            r"optimizer.freeze \[\] where the config has \['enc",
        ),
        ({"train.ema_decay": 0.9}, "train.ema_decay 0.0 where the config has 0.9"),
    ],
)
def test_continuing_with_another_model_or_data_is_refused(trained, changes, message):
    config, workdir = trained
    other = config.copy_and_resolve_references()
    other.update_from_flattened_dict(changes)
    with pytest.raises(InputError, match=f"checkpoints/10: .*{message}"):
        train(other, workdir)


def test_continuing_on_other_files_is_refused(trained, mini_root, tmp_path):
    config, workdir = trained
    shutil.copytree(mini_root, tmp_path / "data")
    subset = tmp_path / "data" / "HCOCO"
    (subset / "HCOCO_train.txt").write_text((subset / "HCOCO_test.txt").read_text())
    other = config.copy_and_resolve_references()
    other.data.root = str(tmp_path / "data")
    with pytest.raises(
        InputError, match=r"trained with 10 training samples where data\.root has 6"
    ):
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


def batch_of(config, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shape = (config.train.batch_size, config.data.image_size, config.data.image_size)
    return {
        "composite": rng.integers(0, 256, (*shape, 3)).astype(np.uint8),
        "real": rng.integers(0, 256, (*shape, 3)).astype(np.uint8),
        "mask": (255 * (rng.random(shape) > 0.7)).astype(np.uint8),
    }


def test_the_loss_curve_is_the_same_on_one_device_and_on_two():
    """Batch statistics are over the global batch, or the curves would part at once."""
    config = tiny_config()
    curves = []
    for count in (1, 2):
        mesh = create_mesh(count)
        optimizer = optax.adam(1e-3)
        layout, state = create_state(build_model(config), optimizer, mesh)
        step = make_train_step(layout, create_loss(config.loss), optimizer, mesh)
        losses = []
        for number in range(10):
            state, metrics = step(state, batch_of(config, number))
            losses.append(float(metrics["loss"]))
        curves.append(losses)
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-3)
    assert curves[0][-1] != curves[0][0]


def test_training_learns_one_batch_by_heart():
    config = tiny_config()
    config.loss.name = "mse"
    mesh = create_mesh(1)
    optimizer = optax.adam(3e-3)
    layout, state = create_state(build_model(config), optimizer, mesh)
    step = make_train_step(layout, create_loss(config.loss), optimizer, mesh)
    batch = batch_of(config)
    batch["real"] = np.where(batch["mask"][..., None] > 0, 255 - batch["composite"], 128)
    batch["real"] = batch["real"].astype(np.uint8)
    losses = []
    for _ in range(60):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("section", "field", "value", "message"),
    [
        ("train", "batch_size", 3, r"train\.batch_size 3: must be a positive multiple of the 2"),
        ("evaluation", "batch_size", 0, r"evaluation\.batch_size 0: must be at least 1"),
        ("loss", "name", "l1", r"loss\.name 'l1': choose 'fn_mse' or 'mse'"),
        ("model", "dtype", "float8", r"model\.dtype 'float8'"),
        ("model", "name", None, r"model\.name is not set"),
        ("data", "image_size", 40, r"image size 40x40.*multiples of 16, at least 32"),
        ("data", "image_size", 0, r"data\.image_size 0: must be at least 1"),
        ("train", "epochs", 0, r"train\.epochs 0: must be at least 1"),
        ("train", "log_every_steps", 0, r"log_every_steps 0"),
        ("checkpoint", "keep_newest", 0, r"keep_newest 0"),
        ("model", "depth", 1, "depth 1: an encoder-decoder has at least 2 levels"),
        ("evaluation", "split", "holdout", "split 'holdout'"),
    ],
)
def test_fields_that_cannot_be(mini_root, tmp_path, section, field, value, message):
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


def test_a_workdir_that_cannot_be(mini_root, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InputError, match=r"file/runs: cannot be written"):
        train(tiny_config(mini_root), tmp_path / "file" / "runs")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.4, "4 s"), (89.0, "89 s"), (600.0, "10 min"), (7300.0, "2 h 02 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
