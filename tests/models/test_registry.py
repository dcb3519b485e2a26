import logging

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from configs import base
from harmony_jax import InputError, create_model, list_models
from harmony_jax.models import parse_argument


def test_names_are_sorted():
    assert list_models() == sorted(list_models())
    assert {"dih256", "hrnet18s_idih256", "hrnet18_issam512"} < set(list_models())


def test_unknown_model_and_argument_are_named():
    with pytest.raises(InputError, match=r"'idih'.*improved_dih256"):
        create_model("idih", rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match=r"'dih256'.*'width'.*channels"):
        create_model("dih256", rngs=nnx.Rngs(0), width=3)


def test_arguments_of_another_type_are_named():
    with pytest.raises(InputError, match="depth 'seven': expected a whole number"):
        create_model("dih256", rngs=nnx.Rngs(0), depth="seven")
    with pytest.raises(InputError, match="depth True: expected a whole number"):
        create_model("dih256", rngs=nnx.Rngs(0), depth=True)


def test_arguments_are_of_the_type_that_a_config_has():
    config = base.get_config().model
    texts = {int: "8", float: "0.5", bool: "true", str: "both"}
    for key in set(config) - {"name", "dtype", "precision"}:
        kind = config.get_type(key)
        name, value = parse_argument(f"{key}={texts[kind]}")
        assert (name, type(value), str(value).lower()) == (key, kind, texts[kind])


@pytest.mark.parametrize("size", [(256, 320), (128, 128), (100, 256)])
def test_image_sizes_the_network_cannot_take(size):
    model = nnx.eval_shape(lambda: create_model("dih256", rngs=nnx.Rngs(0)))
    image = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    mask = jax.ShapeDtypeStruct((1, *size, 1), jnp.float32)
    with pytest.raises(InputError, match=rf"{size[0]}x{size[1]}.*multiples of 128, at least 256"):
        nnx.eval_shape(lambda image, mask: model(image, mask), image, mask)


@pytest.mark.parametrize("side", [0, -64, 100])
def test_image_sizes_a_unet_cannot_take(side):
    model = nnx.eval_shape(lambda: create_model("ssam256", rngs=nnx.Rngs(0)))
    with pytest.raises(InputError, match=rf"{side}x{side}.*network of depth \d takes multiples of"):
        model.check_image_size(side, side)


def test_creating_a_model_compiles_no_program_for_each_shape(caplog):
    """HRNet has 60 shapes of kernels; compiling a program for each took most of a start."""
    with jax.log_compiles(), caplog.at_level(logging.WARNING, "jax"):
        create_model("hrnet18s_idih256", rngs=nnx.Rngs(0))
    compiled = [text for text in caplog.messages if text.startswith("Compiling")]
    assert len(compiled) < 10, compiled
