import logging

import jax
import pytest
from flax import nnx

from configs import base
from harmony_jax import InputError, create_model, list_models
from harmony_jax.models import parse_argument


def test_names_are_sorted():
    assert list_models() == sorted(list_models())
    assert {"dih256", "hrnet18s_idih256", "hrnet18_issam512"} < set(list_models())


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("idih", {}, "'idih'.*improved_dih256"),
        ("dih256", {"width": 3}, "'dih256'.*'width'.*channels"),
        ("dih256", {"depth": "seven"}, "depth 'seven': expected a whole number"),
        ("dih256", {"depth": True}, "depth True: expected a whole number"),
    ],
)
def test_mistakes_are_named(name, arguments, message):
    with pytest.raises(InputError, match=message):
        create_model(name, rngs=nnx.Rngs(0), **arguments)


def test_arguments_are_of_the_type_that_a_config_has():
    config = base.get_config().model
    texts = {int: "8", float: "0.5", bool: "true", str: "both"}
    for key in set(config) - {"name", "dtype", "precision"}:
        kind = config.get_type(key)
        name, value = parse_argument(f"{key}={texts[kind]}")
        assert (name, type(value), str(value).lower()) == (key, kind, texts[kind])


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("dih256", (256, 320), "256x320.*depth 7 takes multiples of 128, at least 256"),
        ("dih256", (128, 128), "128x128"),
        ("dih256", (100, 256), "100x256"),
        ("ssam256", (100, 100), "100x100.*depth 4 takes multiples of 8"),
        ("ssam256", (0, 0), "0x0"),
        ("ssam256", (-64, -64), "-64x-64"),
    ],
)
def test_image_sizes_the_network_cannot_take(name, size, message):
    model = nnx.eval_shape(lambda: create_model(name, rngs=nnx.Rngs(0)))
    with pytest.raises(InputError, match=message):
        model.check_image_size(*size)


def test_creating_a_model_compiles_no_program_for_each_shape(caplog):
    """HRNet has 60 shapes of kernels; compiling a program for each took most of a start."""
    with jax.log_compiles(), caplog.at_level(logging.WARNING, "jax"):
        create_model("hrnet18s_idih256", rngs=nnx.Rngs(0))
    compiled = [text for text in caplog.messages if text.startswith("Compiling")]
    assert len(compiled) < 10, compiled
