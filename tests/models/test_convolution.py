"""Each form of the strided convolution against the plain one, and against its transposes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from harmony_jax.models import convolution as forms

# height, width, high channels, low channels, padding; 4 * high < low takes the other correlation.
SHAPES = [(16, 12, 3, 5, 1), (8, 8, 4, 32, 1), (4, 4, 8, 16, 0), (12, 8, 6, 4, 0)]


@pytest.fixture(params=SHAPES, ids=str)
def arrays(request):
    height, width, high, low, padding = request.param
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, height, width, high))
    kernel = rng.standard_normal((4, 4, high, low))
    y = rng.standard_normal(
        (2, (height + 2 * padding - 2) // 2, (width + 2 * padding - 2) // 2, low)
    )
    return *(jnp.asarray(array, jnp.float32) for array in (x, kernel, y)), padding


def plain(x, kernel, padding):
    return lax.conv_general_dilated(
        x, kernel, (2, 2), [(padding, padding)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def close(found, expected):
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_convolution_and_its_gradients(arrays):
    x, kernel, y, padding = arrays
    expected, transpose = jax.vjp(lambda x, kernel: plain(x, kernel, padding), x, kernel)
    found, pullback = jax.vjp(lambda x, k: forms.strided_conv(x, k, padding), x, kernel)
    close(found, expected)
    for ours, theirs in zip(pullback(y), transpose(y), strict=True):
        close(ours, theirs)


def test_transposed_convolution_and_its_gradients(arrays):
    x, kernel, y, padding = arrays
    reference = jax.linear_transpose(lambda x: plain(x, kernel, padding), x)

    def transposed(y, kernel):
        return jax.linear_transpose(lambda x: plain(x, kernel, padding), x)(y)[0]

    found, pullback = jax.vjp(lambda y, k: forms.strided_conv_transpose(y, k, padding), y, kernel)
    close(found, reference(y)[0])
    _, transpose = jax.vjp(transposed, y, kernel)
    for ours, theirs in zip(pullback(x), transpose(x), strict=True):
        close(ours, theirs)


def test_forms_of_other_platforms_agree(arrays):
    x, kernel, y, padding = arrays
    close(
        forms._up_by_dilation(y, kernel, padding=padding),
        forms._up_by_blocks(y, kernel, padding=padding),
    )
    close(
        forms._correlate_by_convolution(x, y, padding=padding),
        forms._correlate_by_blocks(x, y, padding=padding),
    )


def test_accelerators_get_the_plain_forms():
    """Lowered for a TPU from this machine, the transpose is one dilated convolution."""
    y, kernel = jnp.zeros((1, 4, 4, 8)), jnp.zeros((4, 4, 3, 8))
    function = jax.jit(lambda y, kernel: forms.strided_conv_transpose(y, kernel, 1))
    for_tpu = function.trace(y, kernel).lower(lowering_platforms=("tpu",)).as_text()
    for_cpu = function.trace(y, kernel).lower(lowering_platforms=("cpu",)).as_text()
    assert "lhs_dilate = [2, 2]" in for_tpu
    assert "lhs_dilate = [2, 2]" not in for_cpu
