import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from harmony_jax import InputError
from harmony_jax.checkpoint import FOLDER
from harmony_jax.data.iharmony4 import IHarmony4Source
from harmony_jax.evaluate import evaluate_workdir
from tests.made_data import SUBSETS, tiny_config
from tests.released import evaluation_of_composites

MINI = os.environ.get("HARMONY_JAX_IHARMONY4_MINI", "")


def test_the_composites_numbers_are_those_computed_one_by_one(trained, mini_root):
    """Six images in batches of four: none lost, none counted twice."""
    _, workdir = trained
    found = json.loads((workdir / "evaluation.json").read_text())["composite"]
    source = IHarmony4Source(str(mini_root), "test", SUBSETS)
    errors = []
    for index in range(len(source)):
        composite, real, mask = (
            cv2.resize(source[index][key], (32, 32), interpolation=cv2.INTER_LINEAR).astype(float)
            for key in ("composite", "real", "mask")
        )
        square, weight = (composite - real) ** 2, mask[..., None] / 255
        errors.append((square.mean(), (weight * square).sum() / (3 * weight.sum() + 1e-6)))
    assert found["All"]["N"] == 6
    np.testing.assert_allclose(found["All"]["MSE"], np.mean(errors, 0)[0], rtol=1e-5)
    np.testing.assert_allclose(found["All"]["fMSE"], np.mean(errors, 0)[1], rtol=1e-5)
    np.testing.assert_allclose(found["HFlickr"]["MSE"], np.mean(errors[3:], 0)[0], rtol=1e-5)


@pytest.mark.skipif(not MINI, reason="HARMONY_JAX_IHARMONY4_MINI does not name the mini data set")
def test_released_numbers_of_the_mini_set(trained, tmp_path):
    config, workdir = trained
    config = config.copy_and_resolve_references()
    config.data.root = MINI
    config.data.subsets = ("HCOCO", "HAdobe5k", "HFlickr", "Hday2night")
    config.data.image_size = 256
    evaluate_workdir(config, tmp_path, workdir)
    found = json.loads((tmp_path / "evaluation.json").read_text())["composite"]
    expected = evaluation_of_composites()
    assert found.keys() == expected.keys()
    for group, metrics in expected.items():
        for name, value in metrics.items():
            np.testing.assert_allclose(found[group][name], value, rtol=1e-4, err_msg=group + name)


def test_other_splits_and_earlier_results_stay_apart(trained, tmp_path, capsys):
    config, workdir = trained
    shutil.copytree(workdir / FOLDER, tmp_path / FOLDER)
    config = config.copy_and_resolve_references()
    for _ in range(3):
        evaluate_workdir(config, tmp_path)
    config.evaluation.split = "validation"
    evaluate_workdir(config, tmp_path)
    assert {path.name for path in tmp_path.glob("*.json")} == {
        "evaluation.json",
        "evaluation.1.json",
        "evaluation.2.json",
        "evaluation_validation.json",
    }
    validation = json.loads((tmp_path / "evaluation_validation.json").read_text())
    assert validation["model"]["All"]["N"] == 4
    printed = capsys.readouterr().out
    assert "composite" in printed
    assert f"{validation['model']['All']['MSE']:.2f}" in printed


def refuse(config, workdir: Path, message: str, checkpoint: Path | None = None) -> None:
    with pytest.raises(InputError, match=message):
        evaluate_workdir(config, workdir, checkpoint)
    assert not (workdir / "evaluation.json").exists()


def test_checkpoints_that_do_not_fit(trained, tmp_path, mini_root):
    config, workdir = trained
    refuse(config, tmp_path, "no checkpoint there: pass a workdir")
    refuse(config, tmp_path, "checkpoints/4321: no checkpoint", workdir / FOLDER / "4321")
    other = tiny_config(mini_root)
    other.model.name = "dih256"
    refuse(other, tmp_path, r"checkpoints/\d+: holds model .*improved_dih256.*'dih256'", workdir)


def test_splits_that_do_not_exist(trained, tmp_path):
    config, workdir = trained
    config = config.copy_and_resolve_references()
    config.evaluation.split = "holdout"
    refuse(config, tmp_path, "split 'holdout': choose 'train'", workdir)
    config.evaluation.split = "validation"
    config.data.validation_fraction = 0.0
    refuse(config, tmp_path, "'validation' is empty: set data.validation_fraction", workdir)


def test_a_damaged_checkpoint_is_named(trained, tmp_path):
    config, workdir = trained
    shutil.copytree(workdir / FOLDER, tmp_path / FOLDER)
    for file in (tmp_path / FOLDER / "10" / "model").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    refuse(config, tmp_path, "checkpoints/10: damaged checkpoint", tmp_path / FOLDER / "10")
