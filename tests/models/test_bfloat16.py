"""bfloat16, layer by layer: float32 inside, rounded once.

Each layer gets the same bfloat16 numbers twice, once as float32. What it makes of these, rounded to
bfloat16, is the best that it could answer.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from harmony_jax.models.attention import (
    ChannelAttention,
    MaskedChannelAttention,
    SpatialSeparatedAttention,
)
from harmony_jax.models.batchnorm import BatchNorm
from harmony_jax.models.convolution import convolve, depthwise_convolve
from harmony_jax.models.convolution_cpu import Geometry
from harmony_jax.models.foreground_aware import LearnedScale
from harmony_jax.models.layers import (
    ConvTranspose,
    LayerMaker,
    add,
    apply_dropout,
    elu,
    leaky_relu,
)
from harmony_jax.models.ocr import RegionAttention, gather_regions
from harmony_jax.models.resizing import resize

RNG = np.random.default_rng(0)
WIDE, NARROW = jnp.float32, jnp.bfloat16


def normal(*shape: int, dtype=NARROW) -> jax.Array:
    return jnp.asarray(RNG.standard_normal(shape), dtype)


def half_ulp(values: jax.Array) -> np.ndarray:
    """Half the distance of neighbours in bfloat16, which has 8 binary digits."""
    _, exponent = np.frexp(np.asarray(values, np.float64))
    return np.ldexp(0.5, exponent - 8)


def check_rounded_once(found: jax.Array, exact: jax.Array, extra: float | np.ndarray = 0.0) -> None:
    """Within half an ulp, and what float32 itself leaves open."""
    assert found.dtype == NARROW
    assert exact.dtype == WIDE
    error = np.abs(np.asarray(found, np.float64) - np.asarray(exact, np.float64))
    own = 1e-6 * np.abs(np.asarray(exact)).max()
    worst = (error / (half_ulp(exact) + own + extra)).max()
    assert worst <= 1, worst


MASK = jnp.asarray(RNG.random((2, 12, 12, 1)), WIDE)
GATE = ChannelAttention(LayerMaker(nnx.Rngs(0)), 32)
MASKED_GATE = MaskedChannelAttention(LayerMaker(nnx.Rngs(0)), 32)
SCALE = LearnedScale(0.123)
KERNEL = normal(3, 3, 1, 32)

FUNCTIONS = {
    "ELU": elu,
    "leaky ReLU": leaky_relu,
    "a sum of four": lambda x: add(x, x[::-1], x[:, ::-1], x[:, :, ::-1]),
    "resizing up": lambda x: resize(x, (29, 17)),
    "resizing down": lambda x: resize(x, (5, 7)),
    "channel attention": GATE,
    "channel attention by foreground": lambda x: MASKED_GATE(x, MASK),
    "learned scale": SCALE,
    "dropout": lambda x: apply_dropout(nnx.Dropout(0.05), x, nnx.Rngs(0)),
    "means of regions": lambda x: gather_regions(x, MASK),
    "depthwise convolution": lambda x: depthwise_convolve(x, KERNEL.astype(x.dtype)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_no_convolution_is_rounded_once(name):
    x = normal(2, 12, 12, 32)
    function = FUNCTIONS[name]
    check_rounded_once(function(x), function(x.astype(WIDE)))


@pytest.mark.parametrize("name", ["ELU", "resizing up", "a sum of four"])
def test_its_gradients_too(name):
    x = normal(2, 12, 12, 32)
    function = FUNCTIONS[name]
    y, narrow = jax.vjp(function, x)
    _, wide = jax.vjp(function, x.astype(WIDE))
    gradient = normal(*y.shape)
    # Paths that join (of the sum, four) are added to each other in the type of `x`.
    joining = 4 * half_ulp(jnp.asarray(8.0)) if name == "a sum of four" else 0.0
    check_rounded_once(narrow(gradient)[0], wide(gradient.astype(WIDE))[0], joining)


def test_elu_tells_small_values_apart():
    """As exp(x) - 1 in bfloat16 it had a dozen values here."""
    x = jnp.unique(jnp.linspace(-0.05, 0, 2000).astype(NARROW))
    assert len(x) > 600
    assert len(jnp.unique(elu(x))) > 0.98 * len(x)


@pytest.mark.parametrize("training", [True, False])
def test_batch_normalisation_where_the_mean_is_thirty_deviations(training):
    norms = [BatchNorm(8, dtype=dtype) for dtype in (NARROW, WIDE)]
    x = (30 + normal(4, 16, 16, 8, dtype=WIDE)).astype(NARROW)
    for norm in norms:
        norm.scale[...], norm.bias[...] = jnp.linspace(0.5, 2, 8), jnp.linspace(-1, 1, 8)
        norm.mean[...], norm.var[...] = jnp.full(8, 30.0), jnp.ones(8)
        norm.use_running_average = not training
    graphs = [nnx.split(norm) for norm in norms]

    def apply(graph, variables, x):
        return nnx.merge(graph, variables, copy=True)(x)

    found, narrow = jax.vjp(lambda x: apply(*graphs[0], x), x)
    exact, wide = jax.vjp(lambda x: apply(*graphs[1], x), x.astype(WIDE))
    check_rounded_once(found, exact, extra=1e-5)  # 30 deviations of float32's own rounding
    gradient = normal(*x.shape)
    check_rounded_once(narrow(gradient)[0], wide(gradient.astype(WIDE))[0], extra=1e-5)


def test_convolutions_round_their_products_and_the_sum_with_the_bias():
    """From the same bfloat16 kernel: half an ulp for the products, half an ulp for the bias."""
    x = normal(2, 12, 12, 16)
    conv = LayerMaker(nnx.Rngs(0), NARROW).conv(16, 24, 3)
    transposed = ConvTranspose(LayerMaker(nnx.Rngs(0), NARROW), 16, 24, 1)
    for layer in (conv, transposed):
        layer.kernel[...] = layer.kernel[...].astype(NARROW).astype(WIDE)
        bias = normal(24, dtype=WIDE)
        layer.bias[...] = bias
        found = layer(x)
        layer.dtype = layer.kernel_dtype = WIDE
        exact = layer(x.astype(WIDE))
        # Rounded products may bring the sum into the next binade, where an ulp is twice as large.
        second = np.maximum(half_ulp(found) - half_ulp(exact), 0)
        check_rounded_once(found, exact, extra=half_ulp(exact - bias) + second)


def test_attention_blocks_stay_within_their_convolutions_roundings():
    x = normal(2, 12, 12, 32)
    layers = {
        dtype: (
            SpatialSeparatedAttention(LayerMaker(nnx.Rngs(0), dtype), 32, 1.0),
            RegionAttention(LayerMaker(nnx.Rngs(0), dtype), 32, 16),
        )
        for dtype in (NARROW, WIDE)
    }
    regions = gather_regions(x, MASK)
    for number, second in ((0, MASK), (1, regions)):
        for dtype in layers:  # statistics of two regions alone would enlarge what was rounded
            layers[dtype][number].eval()
        found = layers[NARROW][number](x, second)
        exact = layers[WIDE][number](x.astype(WIDE), second.astype(WIDE))
        error = jnp.abs(found.astype(WIDE) - exact)
        assert float(error.max()) < 0.02 * float(jnp.ptp(exact))
        assert float(jnp.sqrt(jnp.mean(error**2))) < 0.002 * float(jnp.ptp(exact))


@pytest.mark.parametrize(
    ("size", "geometry"), [(1, Geometry(1, 0)), (3, Geometry(1, 1)), (4, Geometry(2, 1))]
)
def test_a_float32_kernel_has_its_gradient_in_float32(size, geometry):
    """One bfloat16 cannot hold it: 257 needs nine digits."""
    x, kernel = jnp.ones((1, 16, 16, 1), NARROW), jnp.zeros((size, size, 1, 1), WIDE)
    y, transpose = jax.vjp(lambda kernel: convolve(x, kernel, geometry), kernel)
    gradient = jnp.zeros(y.shape, NARROW).at[:, 2:6, 2:6].set(16.0).at[0, 5, 5, 0].set(17.0)
    centre = size // 2
    assert float(transpose(gradient)[0][centre, centre, 0, 0]) == 257
    rounded = jax.vjp(lambda kernel: convolve(x, kernel, geometry), kernel.astype(NARROW))[1]
    assert float(rounded(gradient)[0][centre, centre, 0, 0]) in (256, 258)
