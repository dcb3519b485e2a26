"""Each form of the convolutions against the plain one, and against its transposes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from harmony_jax.models import convolution as forms
from harmony_jax.models.convolution import Geometry

HALVING = (8, 6, 3, 4, 3, Geometry(2, 1))
# Height, width, high channels, low channels, kernel size and geometry. Which side of a kernel-4
# convolution has more than four times the channels decides how its kernel's gradient is computed.
CASES = [
    (16, 12, 3, 5, 4, Geometry(2, 1)),
    (8, 8, 4, 32, 4, Geometry(2, 1)),
    (4, 4, 8, 16, 4, Geometry(2, 0)),
    (12, 8, 6, 4, 4, Geometry(2, 0)),
    (6, 5, 3, 7, 1, Geometry(1, 0)),
    (6, 5, 3, 7, 3, Geometry(1, 1)),
    (7, 6, 7, 3, 3, Geometry(1, 1)),
    (7, 6, 4, 3, 3, Geometry(1, 1)),
    (9, 8, 4, 4, 3, Geometry(1, 2, 2)),
    (9, 8, 4, 5, 3, Geometry(1, 4, 4)),
    (9, 8, 2, 5, 3, Geometry(1, 4, 4)),
    (8, 9, 4, 2, 3, Geometry(1, 0)),
    (9, 7, 3, 4, 3, Geometry(2, 1)),
    HALVING,
    (12, 14, 3, 4, 7, Geometry(2, 3)),
    (12, 13, 3, 4, 3, Geometry(1, 3, 3)),
    (4, 3, 3, 4, 3, Geometry(1, 4, 4)),
]
SHIFTS = [case for case in CASES if case[5].stride == 1]
DILATED = [case for case in SHIFTS if case[5].dilation > 1]
POINTWISE = [case for case in CASES if case[4] == 1]
BLOCKS = [case for case in CASES if case[4] == 4]


def make_arrays(case):
    height, width, high, low, size, geometry = case
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, height, width, high))
    kernel = rng.standard_normal((size, size, high, low))
    x, kernel = jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)
    y = jnp.asarray(rng.standard_normal(plain(x, kernel, geometry).shape), jnp.float32)
    return x, kernel, y, geometry


def plain(x, kernel, geometry):
    return lax.conv_general_dilated(
        x,
        kernel,
        (geometry.stride, geometry.stride),
        [(geometry.padding, geometry.padding)] * 2,
        rhs_dilation=(geometry.dilation, geometry.dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def close(found, expected):
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_convolution_and_its_gradients(case):
    x, kernel, y, geometry = make_arrays(case)
    expected, transpose = jax.vjp(lambda x, kernel: plain(x, kernel, geometry), x, kernel)
    found, pullback = jax.vjp(lambda x, k: forms.convolve(x, k, geometry), x, kernel)
    close(found, expected)
    for ours, theirs in zip(pullback(y), transpose(y), strict=True):
        close(ours, theirs)


@pytest.mark.parametrize("case", BLOCKS, ids=str)
def test_transposed_convolution_and_its_gradients(case):
    x, kernel, y, geometry = make_arrays(case)

    def transposed(y, kernel):
        return jax.linear_transpose(lambda x: plain(x, kernel, geometry), x)(y)[0]

    expected, transpose = jax.vjp(transposed, y, kernel)
    found, pullback = jax.vjp(lambda y, k: forms.convolve_transposed(y, k, geometry), y, kernel)
    close(found, expected)
    for ours, theirs in zip(pullback(x), transpose(x), strict=True):
        close(ours, theirs)


@pytest.mark.parametrize("case", BLOCKS, ids=str)
def test_blocks_agree_with_the_form_of_other_platforms(case):
    x, kernel, y, geometry = make_arrays(case)
    close(
        forms._up_by_blocks(y, kernel, padding=geometry.padding),
        forms._up_by_transposition(y, kernel, high_size=x.shape[1:3], geometry=geometry),
    )
    close(
        forms._correlate_by_blocks(x, y, padding=geometry.padding),
        forms._correlate_by_transposition(x, y, size=4, geometry=geometry),
    )


@pytest.mark.parametrize("form", [forms._correlate_by_shifts, forms._correlate_by_windows])
@pytest.mark.parametrize("case", SHIFTS, ids=str)
def test_shifts_agree_with_the_form_of_other_platforms(case, form):
    x, kernel, y, geometry = make_arrays(case)
    close(
        form(x, y, size=kernel.shape[0], geometry=geometry),
        forms._correlate_by_transposition(x, y, size=kernel.shape[0], geometry=geometry),
    )


@pytest.mark.parametrize("case", POINTWISE, ids=str)
def test_products_agree_with_the_form_of_other_platforms(case):
    x, kernel, y, geometry = make_arrays(case)
    close(
        forms._down_by_product(x, kernel),
        forms._down_by_convolution(x, kernel, geometry=geometry),
    )
    close(
        forms._up_by_product(y, kernel),
        forms._up_by_transposition(y, kernel, high_size=x.shape[1:3], geometry=geometry),
    )


def test_wider_blocks_agree_with_the_form_of_other_platforms():
    x, _, y, geometry = make_arrays(HALVING)
    close(
        forms._correlate_by_wider_blocks(x, y),
        forms._correlate_by_transposition(x, y, size=3, geometry=geometry),
    )


@pytest.mark.parametrize(
    ("pixels", "parts"),
    [(7, 1), (8 * 32 * 32, 1), (8 * 64 * 64, 2), (8 * 65 * 65, 2), (8 * 256 * 256, 8), (40009, 1)],
)
def test_products_over_many_pixels_are_computed_in_equal_parts(pixels, parts):
    rng = np.random.default_rng(0)
    a, b = (jnp.asarray(rng.standard_normal((pixels, 1, 2)), jnp.float32) for _ in range(2))
    products = forms.Products(are_parted=True)
    product = jax.jit(lambda a, b: forms._product_over_pixels(a, b, products))
    expected = np.einsum("pia,pib->ab", np.float64(a), np.float64(b))
    np.testing.assert_allclose(product(a, b), expected, rtol=1e-5, atol=1e-2)
    shape = f"tensor<{parts}x{pixels // parts}x2xf32>"
    assert (shape in product.lower(a, b).as_text()) == (parts > 1)


@pytest.mark.parametrize(
    ("height", "channels", "size", "geometry"),
    [
        (64, (18, 18), 3, Geometry(1, 1)),
        (64, (64, 4), 3, Geometry(1, 1)),
        (64, (4, 64), 3, Geometry(1, 1)),
        (16, (128, 128), 3, Geometry(1, 2, 2)),
        (128, (4, 8), 3, Geometry(2, 1)),
        (16, (8, 8), 1, Geometry(1, 0)),
    ],
)
def test_a_cpu_gets_kernel_gradients_by_products(height, channels, size, geometry):
    """XLA:CPU's own, with windows as large as the maps, takes twice to six times as long."""
    high, low = channels
    case = (height, height, high, low, size, geometry)
    x, kernel, y, _ = make_arrays(case)
    expected = forms._correlate_by_transposition(x, y, size=size, geometry=geometry)
    pullback = jax.jit(lambda k, y: jax.vjp(lambda k: forms.convolve(x, k, geometry), k)[1](y)[0])
    np.testing.assert_allclose(pullback(kernel, y), expected, atol=2e-3)
    text = pullback.lower(kernel, y).as_text()
    assert "stablehlo.dot_general" in text
    assert "stablehlo.convolution" not in text


@pytest.mark.parametrize("case", DILATED, ids=str)
def test_phases_agree_with_the_form_of_other_platforms(case):
    x, kernel, y, geometry = make_arrays(case)
    close(
        forms._correlate_by_phases(x, y, size=kernel.shape[0], geometry=geometry),
        forms._correlate_by_transposition(x, y, size=kernel.shape[0], geometry=geometry),
    )


def test_depthwise_convolution_and_its_gradients():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((2, 5, 6, 4)), jnp.float32)
    kernel = jnp.asarray(rng.standard_normal((3, 3, 1, 4)), jnp.float32)
    expected, transpose = jax.vjp(forms._depthwise_by_convolution, x, kernel)
    found, pullback = jax.vjp(forms.depthwise_convolve, x, kernel)
    close(found, expected)
    for ours, theirs in zip(pullback(x), transpose(x), strict=True):
        close(ours, theirs)


def test_a_gpu_gets_no_kernels_as_large_as_its_maps():
    """XLA:GPU would run the plain gradient of a dilated kernel as a convolution by a whole map."""
    x, kernel = jnp.zeros((2, 32, 32, 8)), jnp.zeros((3, 3, 8, 8))
    for dilation in (2, 12):
        geometry = Geometry(1, dilation, dilation)
        gradient = jax.jit(jax.grad(lambda k, g=geometry: forms.convolve(x, k, g).sum()))
        large = f"stride = [{dilation}, {dilation}]"  # of windows of 32x32 pixels
        traced = gradient.trace(kernel)
        assert large in traced.lower(lowering_platforms=("tpu",)).as_text()
        assert large not in traced.lower(lowering_platforms=("cuda",)).as_text()


def test_taps_that_only_meet_padding_cost_nothing():
    x, kernel = jnp.zeros((1, 4, 4, 3)), jnp.zeros((3, 3, 3, 5))
    function = jax.jit(lambda x, kernel: forms.convolve(x, kernel, Geometry(1, 4, 4)))
    assert "tensor<1x1x3x5xf32>" in function.lower(x, kernel).as_text()


def test_accelerators_get_the_plain_forms():
    """Lowered for a TPU from this machine, the transpose is one dilated convolution."""
    y, kernel = jnp.zeros((1, 4, 4, 8)), jnp.zeros((4, 4, 3, 8))
    function = jax.jit(lambda y, kernel: forms.convolve_transposed(y, kernel, Geometry(2, 1)))
    for_tpu = function.trace(y, kernel).lower(lowering_platforms=("tpu",)).as_text()
    for_cpu = function.trace(y, kernel).lower(lowering_platforms=("cpu",)).as_text()
    assert "lhs_dilate = [2, 2]" in for_tpu
    assert "lhs_dilate = [2, 2]" not in for_cpu
