"""Convolutions in each platform's form, and their gradients, against XLA's own."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from harmony_jax.models.convolution import convolve, convolve_transposed, depthwise_convolve
from harmony_jax.models.convolution_cpu import Geometry
from tests.models.platforms import PLATFORMS, forms_of

# Height, width, high channels, low channels, kernel size and geometry. On a CPU the channels of the
# two sides, their relation, and the number of pixels decide how the kernel's gradient is computed.
CASES = [
    (16, 12, 3, 5, 4, Geometry(2, 1)),
    (8, 8, 4, 32, 4, Geometry(2, 1)),
    (4, 4, 8, 16, 4, Geometry(2, 0)),
    (6, 5, 3, 7, 1, Geometry(1, 0)),
    (6, 5, 3, 7, 3, Geometry(1, 1)),
    (6, 5, 128, 130, 3, Geometry(1, 1)),
    (64, 65, 2, 3, 3, Geometry(1, 1)),
    (64, 64, 1, 5, 3, Geometry(1, 1)),
    (64, 64, 5, 1, 3, Geometry(1, 1)),
    (65, 64, 2, 2, 3, Geometry(1, 0)),
    (9, 8, 4, 4, 3, Geometry(1, 2, 2)),
    (9, 8, 4, 5, 3, Geometry(1, 4, 4)),
    (12, 13, 3, 4, 3, Geometry(1, 3, 3)),
    (9, 8, 128, 128, 3, Geometry(1, 2, 2)),
    (4, 3, 3, 4, 3, Geometry(1, 4, 4)),
    (9, 7, 3, 4, 3, Geometry(2, 1)),
    (8, 6, 3, 4, 3, Geometry(2, 1)),
    (128, 128, 1, 2, 3, Geometry(2, 1)),
    (12, 14, 3, 4, 7, Geometry(2, 3)),
]
TRANSPOSED = [case for case in CASES if case[4] == 4]


def plain(x, kernel, geometry):
    return lax.conv_general_dilated(
        x,
        kernel,
        (geometry.stride, geometry.stride),
        [(geometry.padding, geometry.padding)] * 2,
        rhs_dilation=(geometry.dilation, geometry.dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def plain_transposed(y, kernel, geometry, x):
    return jax.linear_transpose(lambda x: plain(x, kernel, geometry), x)(y)[0]


def make_arrays(case):
    height, width, high, low, size, geometry = case
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((2, height, width, high)), jnp.float32)
    kernel = jnp.asarray(rng.standard_normal((size, size, high, low)), jnp.float32)
    y = jnp.asarray(rng.standard_normal(plain(x, kernel, geometry).shape), jnp.float32)
    return x, kernel, y, geometry


def assert_same(found, expected, inputs, gradient):
    """Of two functions: results, and the gradients in both inputs."""
    result, transpose = jax.vjp(found, *inputs)
    expected_result, expected_transpose = jax.vjp(expected, *inputs)
    gradients = zip(transpose(gradient), expected_transpose(gradient), strict=True)
    for ours, theirs in [(result, expected_result), *gradients]:
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_convolution_and_its_gradients(case, platform):
    x, kernel, y, geometry = make_arrays(case)
    with forms_of(platform):
        assert_same(
            partial(convolve, geometry=geometry), partial(plain, geometry=geometry), (x, kernel), y
        )


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("case", TRANSPOSED, ids=str)
def test_transposed_convolution_and_its_gradients(case, platform):
    x, kernel, y, geometry = make_arrays(case)
    with forms_of(platform):
        assert_same(
            partial(convolve_transposed, geometry=geometry),
            partial(plain_transposed, geometry=geometry, x=x),
            (y, kernel),
            x,
        )


@pytest.mark.parametrize("platform", ["cpu", "cuda"])
def test_depthwise_convolution_and_its_gradients(platform):
    rng = np.random.default_rng(0)
    x, y = (jnp.asarray(rng.standard_normal((2, 5, 6, 4)), jnp.float32) for _ in range(2))
    kernel = jnp.asarray(rng.standard_normal((3, 3, 1, 4)), jnp.float32)

    def grouped(x, kernel):
        return lax.conv_general_dilated(
            x,
            kernel,
            (1, 1),
            [(1, 1)] * 2,
            feature_group_count=4,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    with forms_of(platform):
        assert_same(depthwise_convolve, grouped, (x, kernel), y)


@pytest.mark.parametrize("pixels", [7, 2 * 129 * 128, 9 * 64 * 64, 8 * 128 * 128, 40009])
def test_kernel_gradients_over_many_pixels(pixels):
    """A CPU adds up products of parts of equal size, as many as the number of pixels allows."""
    rng = np.random.default_rng(0)
    x, y = (jnp.asarray(rng.standard_normal((1, pixels, 1, 2)), jnp.float32) for _ in range(2))
    with forms_of("cpu"):
        _, transpose = jax.vjp(lambda k: convolve(x, k, Geometry(1, 0)), jnp.zeros((1, 1, 2, 2)))
    expected = np.einsum("bpqi,bpqj->ij", np.float64(x), np.float64(y))
    np.testing.assert_allclose(transpose(y)[0][0, 0], expected, rtol=1e-5, atol=1e-2)
