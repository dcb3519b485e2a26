"""From a config to a model: what the fields become, and invalid fields."""

import jax.numpy as jnp
import pytest
from flax import nnx

from harmony_jax import InputError, create_model
from harmony_jax.build import build_model, model_arguments
from tests.made_data import tiny_config


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model.name", None, r"model\.name is not set"),
        ("model.depth", 1, "depth 1"),
        ("data.image_size", 40, "image size 40x40"),
        ("train.gradient_dtype", "bfloat16", r"train\.gradient_dtype 'bfloat16'"),
    ],
)
def test_fields_that_no_model_can_have(field, value, message):
    config = tiny_config()
    config.update_from_flattened_dict({field: value})
    with pytest.raises(InputError, match=message):
        build_model(config)


def test_a_precision_that_there_is_not():
    with pytest.raises(InputError, match="precision 'float64'"):
        create_model("dih256", rngs=nnx.Rngs(0), precision="float64")


@pytest.mark.parametrize(("asked", "expected"), [(None, jnp.bfloat16), ("float32", jnp.float32)])
def test_the_config_decides_the_type_of_gradients(asked, expected):
    config = tiny_config()
    config.model.dtype, config.train.gradient_dtype = "bfloat16", asked
    model = nnx.eval_shape(lambda: build_model(config))
    kinds = {m.kernel_dtype for _, m in nnx.iter_modules(model) if hasattr(m, "kernel_dtype")}
    assert kinds == {expected}


def test_how_a_model_is_computed_does_not_identify_it():
    config = tiny_config()
    found = model_arguments(config)
    assert found == {
        "name": "improved_dih256",
        "overrides": {"depth": 4, "channels": 8, "max_channels": 16},
    }
    config.model.precision, config.model.dtype = "highest", "bfloat16"
    assert model_arguments(config) == found
