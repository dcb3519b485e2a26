"""Strictness; exactness is in tests/models/test_released_values.py."""

import numpy as np
import pytest
from flax import nnx

from harmony_jax import InputError, create_model, load_torch_state_dict, to_torch_state_dict

SMALL = {"depth": 4, "channels": 8, "max_channels": 16}


@pytest.fixture
def model():
    return create_model("improved_dih256", rngs=nnx.Rngs(0), **SMALL)


def test_missing_extra_and_misshapen_keys_are_all_listed(model):
    state_dict = to_torch_state_dict(model)
    del state_dict["encoder.block0.block.0.bias"]
    state_dict["classifier.weight"] = np.zeros(3, np.float32)
    state_dict["decoder.to_rgb.bias"] = np.zeros(4, np.float32)
    with pytest.raises(InputError) as error:
        load_torch_state_dict(model, state_dict)
    message = str(error.value)
    assert "1 missing: encoder.block0.block.0.bias" in message
    assert "1 not in the model: classifier.weight" in message
    assert "decoder.to_rgb.bias (4,) instead of (3,)" in message
    assert "\n" not in message


def test_a_refused_state_dict_changes_nothing(model):
    before = to_torch_state_dict(model)
    wrong = {key: value + 1 for key, value in before.items()} | {"extra": np.zeros(1)}
    with pytest.raises(InputError):
        load_torch_state_dict(model, wrong)
    for key, value in to_torch_state_dict(model).items():
        np.testing.assert_array_equal(value, before[key])


def test_axes_are_those_of_pytorch(model):
    shapes = {key: value.shape for key, value in to_torch_state_dict(model).items()}
    assert shapes["encoder.block0.block.0.weight"] == (8, 4, 4, 4)  # Conv2d: out, in, h, w
    assert shapes["decoder.deconv_blocks.3.block.0.weight"] == (8, 4, 4, 4)  # in, out, h, w
    assert shapes["decoder.to_rgb.weight"] == (3, 4, 1, 1)
