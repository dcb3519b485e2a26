"""Strictness, and backbones; exactness is in tests/models/test_released_values.py."""

from collections.abc import Callable

import numpy as np
import pytest
from flax import nnx

from harmony_jax import InputError, create_model, load_torch_state_dict, to_torch_state_dict
from harmony_jax.weights.torch_keys import load_backbone_state_dict
from tests.released import golden, imagenet_keys, make_weights
from tests.weights.checks import assert_same_arrays

SMALL = {"depth": 4, "channels": 8, "max_channels": 16}


@pytest.fixture
def model():
    return create_model("improved_dih256", rngs=nnx.Rngs(0), **SMALL)


def refusal(load: Callable, model: nnx.Module, state_dict: dict[str, np.ndarray]) -> str:
    """The line that weights are refused with; the model is then unchanged."""
    before = to_torch_state_dict(model)
    with pytest.raises(InputError) as error:
        load(model, state_dict)
    assert_same_arrays(to_torch_state_dict(model), before)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_missing_extra_and_misshapen_keys_are_all_listed(model):
    state_dict = {key: value + 1 for key, value in to_torch_state_dict(model).items()}
    del state_dict["encoder.block0.block.0.bias"]
    state_dict["classifier.weight"] = np.zeros(3, np.float32)
    state_dict["decoder.to_rgb.bias"] = np.zeros(4, np.float32)
    message = refusal(load_torch_state_dict, model, state_dict)
    assert "1 missing: encoder.block0.block.0.bias" in message
    assert "1 not in the model: classifier.weight" in message
    assert "decoder.to_rgb.bias (4,) instead of (3,)" in message


def model_with_weights(name: str):
    """A full-size model, its weights those of seed 0, which stand for a fresh initialisation."""
    model = nnx.eval_shape(lambda: create_model(name, rngs=nnx.Rngs(0)))
    load_torch_state_dict(model, make_weights(golden(name)["state_dict"]))
    return model


def imagenet_weights(name: str) -> dict[str, np.ndarray]:
    """Other weights, with the keys of the backbone's ImageNet classifier."""
    if name.startswith("hrnet"):
        keys = imagenet_keys(name)["imagenet_keys"]
    else:  # the keys of ResNet-34 are those that the released DeepLab keeps, and the head's
        prefix = "backbone.deeplab.backbone."
        listed = golden(name)["state_dict"]
        keys = [(key.removeprefix(prefix), s) for key, s in listed if key.startswith(prefix)]
        keys += [("fc.weight", (1000, 512)), ("fc.bias", (1000,))]
    weights = make_weights(keys, seed=1)
    for key in weights:
        if key.endswith("num_batches_tracked"):
            weights[key] = np.array(7)
    return weights


@pytest.mark.parametrize(
    ("name", "taken", "ignored"),
    [
        ("hrnet18s_idih256", 864, 126),
        ("hrnet18_idih256", 1830, 126),
        ("hrnet32_idih256", 1830, 126),
        ("deeplab_r34_idih256", 216, 2),
    ],
)
def test_every_array_of_a_classifiers_body_is_taken(name, taken, ignored):
    model = nnx.eval_shape(lambda: create_model(name, rngs=nnx.Rngs(0)))
    assert load_backbone_state_dict(model, imagenet_weights(name)) == (taken, ignored)


@pytest.mark.parametrize(
    ("name", "prefix", "has_counters"),
    [
        ("hrnet18s_idih256", "backbone.hrnet.", True),
        ("deeplab_r34_idih256", "backbone.deeplab.backbone.", False),  # as in old checkpoints
    ],
)
def test_a_backbone_takes_an_imagenet_classifier(name, prefix, has_counters):
    model, imagenet = model_with_weights(name), imagenet_weights(name)
    before = to_torch_state_dict(model)
    if not has_counters:
        imagenet = {k: v for k, v in imagenet.items() if not k.endswith("num_batches_tracked")}
    taken, _ = load_backbone_state_dict(model, imagenet)
    replaced = 0
    for key, value in to_torch_state_dict(model).items():
        source = imagenet.get(key.removeprefix(prefix)) if key.startswith(prefix) else None
        expected = before[key] if source is None else source
        np.testing.assert_array_equal(value, expected, err_msg=key)
        replaced += source is not None
    assert replaced == taken > 100


def test_weights_of_another_backbone_are_refused():
    model, small = model_with_weights("hrnet18s_idih256"), imagenet_weights("hrnet18s_idih256")
    del small["stage4.1.fuse_layers.3.2.0.0.weight"]
    small["last_layer.0.weight"] = np.zeros(3, np.float32)
    message = refusal(load_backbone_state_dict, model, small)
    assert "1 missing: stage4.1.fuse_layers.3.2.0.0.weight" in message
    assert "1 not in the backbone: last_layer.0.weight" in message

    # Twice the blocks: every array of the small network is there, with others besides.
    message = refusal(load_backbone_state_dict, model, imagenet_weights("hrnet18_idih256"))
    assert "966 not in the backbone: layer1.2.bn1.bias" in message
    assert "missing" not in message
    message = refusal(load_backbone_state_dict, model, imagenet_weights("hrnet32_idih256"))
    assert "of another shape: " in message
    assert "another width?" in message
    assert len(message) < 1500


def test_a_model_without_a_backbone_takes_no_backbone_weights(model):
    assert "the model has no backbone" in refusal(
        load_backbone_state_dict, model, imagenet_weights("hrnet18s_idih256")
    )
