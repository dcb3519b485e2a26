import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from harmony_jax import InputError, create_model, list_models


def test_names_are_sorted():
    assert list_models() == sorted(list_models())
    assert {"dih256", "hrnet18s_idih256", "hrnet18_issam512"} < set(list_models())


def test_unknown_model_and_argument_are_named():
    with pytest.raises(InputError, match=r"'idih'.*improved_dih256"):
        create_model("idih", rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match=r"'dih256'.*'width'.*channels"):
        create_model("dih256", rngs=nnx.Rngs(0), width=3)


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
    with pytest.raises(InputError, match=rf"{side}x{side}.*a U-Net of depth \d takes multiples of"):
        model.check_image_size(side, side)


def test_bfloat16_stays_near_float32_and_keeps_its_state_in_float32():
    models = [
        create_model(
            "improved_dih256", rngs=nnx.Rngs(0), depth=4, channels=16, max_channels=32, dtype=dtype
        )
        for dtype in (jnp.float32, jnp.bfloat16)
    ]
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.standard_normal((2, 32, 32, 3)), jnp.float32)
    mask = jnp.asarray(rng.random((2, 32, 32, 1)) > 0.5, jnp.float32)
    for model in models:
        model.eval()
    exact, rounded = (model(image, mask).image for model in models)
    assert rounded.dtype == jnp.float32
    assert 0 < jnp.abs(exact - rounded).max() < 0.02 * jnp.ptp(exact)
    state = nnx.state(models[1], (nnx.Param, nnx.BatchStat))
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {
        jnp.dtype("float32"),
        jnp.dtype("int32"),
    }


def test_creating_a_model_compiles_no_program_for_each_shape(caplog):
    """HRNet has 60 shapes of kernels; compiling a program for each took most of a start."""
    with jax.log_compiles(), caplog.at_level(logging.WARNING, "jax"):
        create_model("hrnet18s_idih256", rngs=nnx.Rngs(0))
    compiled = [text for text in caplog.messages if text.startswith("Compiling")]
    assert len(compiled) < 10, compiled
