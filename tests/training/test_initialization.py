"""What a training starts from: another model's weights, as far as they fit, or a backbone's."""

import logging

import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx
from ml_collections import ConfigDict

from harmony_jax import InputError, create_model, to_torch_state_dict
from harmony_jax.build import build_model
from harmony_jax.devices.mesh import create_mesh
from harmony_jax.training import loop
from harmony_jax.training.initialization import initialize
from harmony_jax.training.setup import set_up
from harmony_jax.weights.convert import convert
from harmony_jax.weights.files import read_state_dict, write_state_dict
from harmony_jax.weights.saved_model import load_model
from harmony_jax.weights.steps import FOLDER
from tests.made_data import tiny_config
from tests.released import imagenet_keys, make_weights

BACKBONE = "hrnet18s_idih256"


@pytest.fixture(scope="module")
def file(trained, tmp_path_factory):
    """The trained model's last step as .safetensors."""
    path = tmp_path_factory.mktemp("file") / "tiny.safetensors"
    convert(trained[1] / FOLDER / "10", path)
    return path


def begun(checkpoint, **model):
    """The state that a training of the tiny model starts with, as trees."""
    config = tiny_config()
    config.init.checkpoint = str(checkpoint)
    config.model.update(model)
    training = set_up(config, create_mesh(), samples=10)
    return training.layout.as_trees(training.begin())


def starts(caplog) -> list[str]:
    return [text for text in caplog.messages if text.startswith("Starting from ")]


@pytest.mark.parametrize("form", ["workdir", "checkpoints", "step", ".safetensors", ".pth"])
def test_fine_tuning_starts_from_exactly_these_values(trained, file, tmp_path, caplog, form):
    caplog.set_level(logging.INFO, "harmony_jax")
    _, workdir = trained
    places = {
        "checkpoints": workdir / FOLDER,
        "step": workdir / FOLDER / "10",
        ".safetensors": file,
    }
    place = places.get(form, workdir)
    if form == ".pth":
        place = tmp_path / "tiny.pth"
        convert(file, place)
    state = begun(place)
    # Of several steps a workdir stands for the best, as everywhere.
    model, loaded = load_model(workdir if form in ("workdir", "checkpoints") else file)
    expected = jax.tree.leaves(nnx.state(model, nnx.Param, nnx.BatchStat))
    for found, value in zip(jax.tree.leaves(state.variables), expected, strict=True):
        np.testing.assert_array_equal(found, value)
    scratch = jax.tree.leaves(nnx.state(build_model(tiny_config()), nnx.Param))
    assert any(np.any(a != b) for a, b in zip(expected, scratch, strict=False))
    assert int(state.step) == 0
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(state.optimizer))
    named = {"workdir": loaded.folder, "checkpoints": loaded.folder}.get(form, place)
    assert starts(caplog) == [f"Starting from {named}: 50 of the model's 50 arrays taken"]


def test_of_another_model_what_fits_is_taken_and_the_rest_is_told(file, caplog):
    caplog.set_level(logging.INFO, "harmony_jax")
    begun(file, name="dih256", depth=3)  # without blending, and a level less
    (line,) = starts(caplog)
    assert line.startswith(f"Starting from {file}: 19 of the model's 44 arrays taken; 12 new (")
    assert "encoder.block0 5" in line
    assert (
        "; 13 new as the shape differs (decoder.deconv_blocks.0.block.0.bias 8 instead of" in line
    )
    assert "decoder.deconv_blocks.0.block.0.weight 16x8x4x4 instead of 16x16x4x4, " in line
    assert "and 5 more); 16 unused (decoder.conv_attention 2, decoder.deconv_blocks " in line


def small_hrnet(**overrides):
    """The structure of iDIH on a very narrow HRNet."""
    size = {"width": 2, "ocr_channels": 0, "depth": 4, "channels": 8, "max_channels": 16}
    size |= overrides
    return nnx.eval_shape(lambda: create_model(BACKBONE, rngs=nnx.Rngs(0), **size))


def test_a_changed_fusion_leaves_what_takes_the_features_new(tmp_path, caplog):
    caplog.set_level(logging.INFO, "harmony_jax")
    model, path = small_hrnet(), tmp_path / "encoder.safetensors"
    rng = np.random.default_rng(0)
    state = nnx.state(model, (nnx.Param, nnx.BatchStat))
    nnx.update(model, jax.tree.map(lambda x: rng.random(x.shape).astype(x.dtype), state))
    arrays = to_torch_state_dict(model)
    path.write_bytes(safetensors.numpy.save({k: v.copy() for k, v in arrays.items()}))
    both = small_hrnet(fuse_into="both")
    initialize(both, ConfigDict({"checkpoint": str(path), "backbone": ""}))
    assert starts(caplog) == [
        f"Starting from {path}: 916 of the model's 917 arrays taken; 1 new as the shape differs "
        "(model.decoder.deconv_blocks.2.block.0.weight 38x8x4x4 instead of 8x8x4x4)"
    ]
    found = nnx.to_flat_state(nnx.state(both, (nnx.Param, nnx.BatchStat)))
    fresh = [path for path, value in found if isinstance(value.get_value(), jax.ShapeDtypeStruct)]
    assert fresh == [("model", "decoder", "deconv_blocks", 2, "block", 0, "kernel")]
    np.testing.assert_array_equal(
        both.backbone.hrnet.bn1.mean.get_value(), arrays["backbone.hrnet.bn1.running_mean"]
    )


def test_what_cannot_be_taken_leaves_no_workdir(mini_root, tmp_path, file, imagenet):
    other, whole = tmp_path / "other.safetensors", tmp_path / "whole.safetensors"
    arrays = read_state_dict(file)
    # A counter alone is nothing: it belongs to statistics.
    counter = next(key for key in arrays if key.endswith("num_batches_tracked"))
    others = {f"other.{key}": value for key, value in arrays.items()}
    other.write_bytes(safetensors.numpy.save(others | {counter: arrays[counter]}))
    write_state_dict(whole, imagenet)
    (tmp_path / "empty").mkdir()
    for field, path, message in (
        ("checkpoint", other, "none of its 51 arrays fits"),
        ("checkpoint", tmp_path / "missing.safetensors", "no such file or folder"),
        ("checkpoint", tmp_path / "empty", "no checkpoint there"),
        ("backbone", tmp_path / "missing.pth", "cannot be read"),
        ("backbone", whole, "the model has no backbone"),
    ):
        config, workdir = tiny_config(mini_root), tmp_path / "workdir"
        config.init[field] = str(path)
        with pytest.raises(InputError, match=f"^init.{field} {path}.*: .*{message}") as error:
            loop.train(config, workdir)
        assert "\n" not in str(error.value)
        assert not workdir.exists()


def test_a_checkpoint_goes_before_a_backbone(file, caplog):
    config = tiny_config()
    config.init.checkpoint, config.init.backbone = str(file), "hrnet.pth"
    set_up(config, create_mesh(), samples=10).begin()
    assert "init.backbone hrnet.pth is not read" in caplog.text


@pytest.fixture(scope="module")
def imagenet():
    return make_weights(imagenet_keys(BACKBONE)["imagenet_keys"], seed=1)


def test_training_starts_from_the_backbone_that_the_config_names(imagenet, tmp_path, caplog):
    caplog.set_level(logging.INFO, "harmony_jax")
    model, path = small_hrnet(width=18), tmp_path / "hrnet_w18_small_model_v2.pth"
    write_state_dict(path, imagenet)
    initialize(model, ConfigDict({"checkpoint": "", "backbone": str(path)}))
    assert f"Backbone from {path}: 864 arrays taken, 126 ignored" in caplog.messages
    network = model.backbone.hrnet
    kernel = np.transpose(imagenet["conv1.weight"], (2, 3, 1, 0))
    np.testing.assert_array_equal(network.conv1.kernel.get_value(), kernel)
    variance = network.stage4[1].branches[3][1].bn2.var.get_value()
    np.testing.assert_array_equal(variance, imagenet["stage4.1.branches.3.1.bn2.running_var"])


def test_training_a_random_backbone_says_so(caplog):
    model = small_hrnet()
    initialize(model, ConfigDict({"checkpoint": "", "backbone": ""}))
    assert "init.backbone is not set" in caplog.text
    assert isinstance(model.backbone.hrnet.conv1.kernel.get_value(), jax.ShapeDtypeStruct)


def test_a_training_that_has_begun_reads_neither(trained, caplog):
    config, workdir = trained
    config = config.copy_and_resolve_references()
    config.init.checkpoint, config.init.backbone = "/nowhere", "/nowhere/hrnet.pth"
    loop.train(config, workdir)
    assert "init.checkpoint /nowhere is not read" in caplog.text
