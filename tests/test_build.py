"""ImageNet weights for a backbone, from a file that the config names."""

import logging

import numpy as np
import pytest

from harmony_jax import InputError, to_torch_state_dict
from harmony_jax.training import loop as training
from harmony_jax.training import setup
from harmony_jax.weights.files import write_state_dict
from tests.made_data import tiny_config
from tests.pytorch import torch
from tests.released import imagenet_keys, make_weights
from tests.weights.test_torch_keys import model_with_weights

NAME = "hrnet18s_idih256"


@pytest.fixture(scope="module")
def imagenet():
    return make_weights(imagenet_keys(NAME)["imagenet_keys"], seed=1)


@pytest.fixture(scope="module")
def imagenet_file(imagenet, tmp_path_factory):
    """As HRNet's authors wrote it, in the format before PyTorch 1.6, where that is installed."""
    path = tmp_path_factory.mktemp("imagenet") / "hrnet_w18_small_model_v2.pth"
    if torch is None:
        write_state_dict(path, imagenet)
    else:
        tensors = {key: torch.tensor(value) for key, value in imagenet.items()}
        torch.save(tensors, path, _use_new_zipfile_serialization=False)
    return path


def trained_from(config, workdir, monkeypatch) -> dict[str, np.ndarray]:
    """The weights that a training of an HRNet model starts from."""

    class StartedError(Exception):
        pass

    def started(model, *_):
        raise StartedError(to_torch_state_dict(model))

    config.data.image_size = 256
    monkeypatch.setattr(setup, "build_model", lambda _: model_with_weights(NAME))
    monkeypatch.setattr(setup, "create_state", started)
    with pytest.raises(StartedError) as found:
        training.train(config, workdir)
    return found.value.args[0]


def test_training_starts_from_the_backbone_that_the_config_names(
    mini_root, tmp_path, monkeypatch, imagenet, imagenet_file, caplog
):
    caplog.set_level(logging.INFO, "harmony_jax")
    config = tiny_config(mini_root)
    config.init.backbone = str(imagenet_file)
    weights = trained_from(config, tmp_path, monkeypatch)
    assert f"Backbone from {imagenet_file}: 864 arrays taken, 126 ignored" in caplog.messages
    for key in ("conv1.weight", "stage4.1.branches.3.1.bn2.running_var"):
        np.testing.assert_array_equal(weights[f"backbone.hrnet.{key}"], imagenet[key])


def test_training_a_random_backbone_says_so(mini_root, tmp_path, monkeypatch, caplog):
    weights = trained_from(tiny_config(mini_root), tmp_path, monkeypatch)
    assert "init.backbone is not set" in caplog.text
    fresh = to_torch_state_dict(model_with_weights(NAME))
    np.testing.assert_array_equal(
        weights["backbone.hrnet.conv1.weight"], fresh["backbone.hrnet.conv1.weight"]
    )


def test_a_continued_training_needs_no_file(trained):
    config, workdir = trained
    config = config.copy_and_resolve_references()
    config.init.backbone = "/nowhere/hrnet.pth"
    training.train(config, workdir)


def test_backbones_that_cannot_be_leave_no_workdir(mini_root, tmp_path, imagenet):
    config, workdir = tiny_config(mini_root), tmp_path / "workdir"

    def refuse(path, message):
        config.init.backbone = str(path)
        with pytest.raises(InputError, match=message) as error:
            training.train(config, workdir)
        assert "\n" not in str(error.value)
        assert not workdir.exists()

    missing, whole = tmp_path / "missing.pth", tmp_path / "whole.safetensors"
    refuse(missing, f"^init.backbone {missing}: cannot be read .*: check the path")
    write_state_dict(whole, imagenet)
    refuse(whole, f"^init.backbone {whole}: the model has no backbone")
