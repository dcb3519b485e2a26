"""Convolutions, with gradients in the form that each platform computes fastest.

With `x` at high resolution, `y` at low resolution and the kernel `w`, a convolution of stride s,
padding p and dilation d and its two transposes are

    down(x, w)      y[i] = sum_k x[s i - p + d k] w[k]       the convolution
    up(y, w)        x[s i - p + d k] += y[i] w[k]            its transpose in x
    correlate(x, y) w[k] = sum_i x[s i - p + d k] y[i]       its transpose in w

The forward and backward pass of a convolution and of a transposed convolution are these three
functions, so it is enough to choose a fast form of each. Accelerators get the plain `lax` forms,
which move the fewest bytes there. XLA:CPU has no fast form of a dilated convolution (`up`, 10 to
40 times slower than the matrix product it amounts to), and `correlate` transposes the images in
memory. So on a CPU the kernel-4, stride-2 ones are rewritten over 2x2 blocks of pixels
(space-to-depth turns them into kernel-2, stride-1 ones with four times the channels), and the
`correlate` of 1x1 kernels and of large maps as matrix products. On a GPU the `correlate` of a
dilated convolution is rewritten (`_correlate_by_phases`). docs/performance.md has the
measurements, and what was tried and left. The choice is made per platform when the program is
lowered, so ahead-of-time compilation for another platform gets that platform's form.

A kernel may have more digits than the images. It is rounded to their type for the products, and its
gradient comes in its own type: a float32 kernel of bfloat16 images has its gradient accumulated,
and summed over devices, in float32.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from harmony_jax.models.arithmetic import EXACT, Precision, widen
from harmony_jax.models.platform_forms import by_platform

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")
_LARGE = 128 * 128  # pixels; on smaller maps XLA's kernel gradient is as fast

High = Float[Array, "batch height width high_channels"]
Low = Float[Array, "batch low_height low_width low_channels"]
Kernel = Float[Array, "size size high_channels low_channels"]


class Geometry(NamedTuple):
    """Stride, padding on each side, and dilation, the same in both directions."""

    stride: int
    padding: int
    dilation: int = 1


class Products(NamedTuple):
    """How `correlate` multiplies: precision of products of float32, and the result's type."""

    precision: Precision = EXACT
    dtype: DTypeLike = jnp.float32


_PRODUCTS = Products()


def convolve(x: High, kernel: Kernel, geometry: Geometry, precision: Precision = EXACT) -> Low:
    """Convolves (PyTorch's `Conv2d` without bias).

    Args:
        x: input.
        kernel: indexed [row, column, input channel, output channel].
        geometry: of the convolution.
        precision: of products of float32, here and in the gradients.

    Returns:
        The output, `(height + 2 * padding - dilation * (size - 1) - 1) // stride + 1` high.
    """
    if kernel.shape[0] == 3 and geometry.stride == 1 and _centre_alone_counts(x, geometry):
        kernel, geometry = kernel[1:2, 1:2], Geometry(1, 0)
    return _convolve(x, kernel, geometry, precision)


def _centre_alone_counts(x: High, geometry: Geometry) -> bool:
    """Whether the other taps of a 3x3 kernel lie in the padding wherever it is."""
    dilation = geometry.dilation
    return geometry.padding == dilation and dilation >= max(x.shape[1:3])


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(x: High, kernel: Kernel, geometry: Geometry, precision: Precision) -> Low:
    return _down(x, kernel, geometry, precision)


def _convolve_forward(
    x: High, kernel: Kernel, geometry: Geometry, precision: Precision
) -> tuple[Low, tuple[High, Kernel]]:
    return _down(x, kernel, geometry, precision), (x, kernel)


def _convolve_backward(
    geometry: Geometry, precision: Precision, residuals: tuple[High, Kernel], gradient: Low
) -> tuple[High, Kernel]:
    x, kernel = residuals
    return (
        _up(gradient, kernel, x.shape[1:3], geometry, precision),
        _correlate(x, gradient, kernel, geometry, precision),
    )


_convolve.defvjp(_convolve_forward, _convolve_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve_transposed(
    y: Low, kernel: Kernel, geometry: Geometry, precision: Precision = EXACT
) -> High:
    """Transpose of `convolve` (PyTorch's `ConvTranspose2d` without bias).

    Args:
        y: input at low resolution.
        kernel: indexed [row, column, output channel, input channel], as the `convolve` that this
            is the transpose of.
        geometry: of that convolution; its padding cuts off rows and columns of the output.
        precision: of products of float32, here and in the gradients.

    Returns:
        The output, `stride * (height - 1) + dilation * (size - 1) + 1 - 2 * padding` high.
    """
    return _up(y, kernel, _high_size(y, kernel, geometry), geometry, precision)


def _convolve_transposed_forward(
    y: Low, kernel: Kernel, geometry: Geometry, precision: Precision
) -> tuple[High, tuple[Low, Kernel]]:
    return _up(y, kernel, _high_size(y, kernel, geometry), geometry, precision), (y, kernel)


def _convolve_transposed_backward(
    geometry: Geometry, precision: Precision, residuals: tuple[Low, Kernel], gradient: High
) -> tuple[Low, Kernel]:
    y, kernel = residuals
    return (
        _down(gradient, kernel, geometry, precision),
        _correlate(gradient, y, kernel, geometry, precision),
    )


convolve_transposed.defvjp(_convolve_transposed_forward, _convolve_transposed_backward)


def depthwise_convolve(
    x: Float[Array, "batch height width channels"],
    kernel: Float[Array, "3 3 1 channels"],
    precision: Precision = EXACT,
) -> Float[Array, "batch height width channels"]:
    """Convolves each channel with its own kernel, padded to keep the size.

    A kernel with more digits than `x` has the products computed in its type.
    """
    convolution = partial(_depthwise_by_convolution, precision=precision)
    return by_platform(x, kernel, cpu=_depthwise_by_taps, default=convolution)


def _high_size(y: Low, kernel: Kernel, geometry: Geometry) -> tuple[int, int]:
    extent = geometry.dilation * (kernel.shape[0] - 1) + 1 - 2 * geometry.padding
    height, width = (geometry.stride * (side - 1) + extent for side in y.shape[1:3])
    return height, width


def _down(x: High, kernel: Kernel, geometry: Geometry, precision: Precision) -> Low:
    return lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype),
        (geometry.stride, geometry.stride),
        [(geometry.padding, geometry.padding)] * 2,
        rhs_dilation=(geometry.dilation, geometry.dilation),
        dimension_numbers=_DIMENSIONS,
        precision=precision,
    )


def _up(
    y: Low, kernel: Kernel, high_size: tuple[int, ...], geometry: Geometry, precision: Precision
) -> High:
    kernel = kernel.astype(y.dtype)
    plain = partial(
        _up_by_transposition, high_size=high_size, geometry=geometry, precision=precision
    )
    blocks: Callable[[Low, Kernel], High]
    if (kernel.shape[0], geometry.stride, geometry.dilation) == (4, 2, 1):
        blocks = partial(_up_by_blocks, padding=geometry.padding, precision=precision)
    elif (kernel.shape[0], *geometry) == (3, 2, 1, 1) and _is_twice(high_size, y.shape[1:3]):
        blocks = partial(_up_by_wider_blocks, precision=precision)
    else:
        return plain(y, kernel)
    return by_platform(y, kernel, cpu=blocks, default=plain, portable=blocks)


def _correlate(x: High, y: Low, kernel: Kernel, geometry: Geometry, precision: Precision) -> Kernel:
    """The transpose in the kernel, of its shape and type."""
    size = kernel.shape[0]
    products = Products(precision, kernel.dtype)
    plain = partial(_correlate_by_transposition, size=size, geometry=geometry, products=products)
    shifts = partial(_correlate_by_shifts, size=size, geometry=geometry, products=products)
    cuda: Callable[[High, Low], Kernel] = plain
    if geometry.stride == 1 and geometry.dilation > 1 and geometry.padding % geometry.dilation == 0:
        few = max(x.shape[1:3]) <= size * geometry.dilation
        phases = partial(_correlate_by_phases, size=size, geometry=geometry, products=products)
        cuda = shifts if few else phases
    form: Callable[[High, Low], Kernel]
    if (size, geometry.stride, geometry.dilation) == (4, 2, 1):
        form = partial(_correlate_by_blocks, padding=geometry.padding, products=products)
    elif (size, geometry.stride, geometry.padding) == (1, 1, 0):
        form = partial(_correlate_by_product, products=products)
    elif geometry.stride == 1 and _shifts_pay(x, y):
        form = shifts
    else:
        form = plain
    if form is plain and cuda is plain:
        return plain(x, y)
    return by_platform(x, y, cpu=form, cuda=cuda, default=plain)


def _up_by_transposition(
    y: Low,
    kernel: Kernel,
    *,
    high_size: tuple[int, ...],
    geometry: Geometry,
    precision: Precision = EXACT,
) -> High:
    x = jax.ShapeDtypeStruct((y.shape[0], *high_size, kernel.shape[2]), y.dtype)
    return jax.linear_transpose(lambda x: _down(x, kernel, geometry, precision), x)(y)[0]


def _correlate_by_transposition(
    x: High, y: Low, *, size: int, geometry: Geometry, products: Products = _PRODUCTS
) -> Kernel:
    """The operation that `linear_transpose` gives, which has no say in the result's type."""
    stride, padding, dilation = geometry
    ends = [
        stride * (low - 1) + dilation * (size - 1) + 1 - high - padding
        for high, low in zip(x.shape[1:3], y.shape[1:3], strict=True)
    ]
    return lax.conv_general_dilated(
        x,
        y,
        (dilation, dilation),
        [(padding, end) for end in ends],
        rhs_dilation=(stride, stride),
        dimension_numbers=("CHWN", "IHWO", "HWNC"),
        precision=products.precision,
        preferred_element_type=products.dtype,
    )


def _correlate_by_product(x: High, y: Low, *, products: Products = _PRODUCTS) -> Kernel:
    """`correlate` of a 1x1 kernel: one matrix product over all pixels.

    Operands are two-dimensional because XLA:CPU transposes in memory the operands of a product
    that contracts several axes.
    """
    return _product_over_pixels(x, y, products)[None, None]


def _correlate_by_shifts(
    x: High, y: Low, *, size: int, geometry: Geometry, products: Products = _PRODUCTS
) -> Kernel:
    """`correlate` of stride 1 as one matrix product over all pixels.

    The column shifts of `x` and the row shifts of `y` are laid side by side as channels, so that
    each pair of them is a tap of the kernel.
    """
    high, low = x.shape[-1], y.shape[-1]
    offsets = [geometry.dilation * tap - geometry.padding for tap in range(size)]
    columns = [_pad(x, 2, -offset, y.shape[2] + offset - x.shape[2]) for offset in offsets]
    rows = [_pad(y, 1, offset, x.shape[1] - y.shape[1] - offset) for offset in offsets]
    product = _product_over_pixels(
        jnp.concatenate(columns, -1), jnp.concatenate(rows, -1), products
    )
    return product.reshape(size, high, size, low).transpose(2, 0, 1, 3)


def _correlate_by_phases(
    x: High, y: Low, *, size: int, geometry: Geometry, products: Products = _PRODUCTS
) -> Kernel:
    """`correlate` of a dilated convolution, whose padding is a multiple of the dilation.

    Every so many rows and columns are an image of their own, in which the kernel is not dilated.
    XLA:GPU has no kernel gradient of dilated convolutions: it runs a convolution with kernels as
    large as the maps. (So it does if these images are no larger than the kernel.)
    """
    dilation = geometry.dilation

    def phases(images: Array) -> Array:
        for axis in (1, 2):
            images = _pad(images, axis, 0, -images.shape[axis] % dilation)
        batch, height, width, channels = images.shape
        rows, columns = height // dilation, width // dilation
        images = images.reshape(batch, rows, dilation, columns, dilation, channels)
        return images.transpose(0, 2, 4, 1, 3, 5).reshape(-1, rows, columns, channels)

    plain = Geometry(1, geometry.padding // dilation)
    return _correlate_by_transposition(
        phases(x), phases(y), size=size, geometry=plain, products=products
    )


def _up_by_blocks(y: Low, kernel: Kernel, *, padding: int, precision: Precision = EXACT) -> High:
    """`up` as one kernel-2 convolution whose output channels are 2x2 blocks of pixels.

    Output rows 2 s + 1 and 2 s + 2 (before cutting) both depend on the input rows s and s + 1
    alone, through kernel rows (3, 1) and (2, 0): so shifting the blocks by one row makes all four
    pixels of a block share one 2x2 window, with no multiplication by zero.
    """
    channels = kernel.shape[2]
    taps = kernel.reshape(2, 2, 2, 2, channels, -1)[::-1, :, ::-1]
    block_kernel = taps.transpose(0, 2, 5, 1, 3, 4).reshape(2, 2, -1, 4 * channels)
    blocks = lax.conv_general_dilated(
        y,
        block_kernel,
        (1, 1),
        [(1, 1)] * 2,
        dimension_numbers=_DIMENSIONS,
        precision=precision,
    )
    batch, height, width, _ = blocks.shape
    x = blocks.reshape(batch, height, width, 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
    x = x.reshape(batch, 2 * height, 2 * width, channels)
    return x[:, padding : 2 * height - padding, padding : 2 * width - padding]


def _up_by_wider_blocks(y: Low, kernel: Kernel, *, precision: Precision = EXACT) -> High:
    """`up` of a 3x3 kernel, padding 1: that of a 4x4 kernel whose last row and column are zero.

    Half of the multiplications are by zero, where a dilated convolution has three quarters.
    """
    kernel = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))
    return _up_by_blocks(y, kernel, padding=1, precision=precision)


def _correlate_by_blocks(
    x: High, y: Low, *, padding: int, products: Products = _PRODUCTS
) -> Kernel:
    """`correlate` as matrix products over all pixels, with `x` in 2x2 blocks.

    The four shifts of one side against the other are laid side by side as channels, on the side
    where that copies less.
    """
    height, width = y.shape[1:3]
    high, low = x.shape[-1], y.shape[-1]
    x = _pad(_pad(x, 1, padding, padding), 2, padding, padding)
    blocks = x.reshape(-1, height + 1, 2, width + 1, 2, high).transpose(0, 1, 3, 2, 4, 5)
    blocks = blocks.reshape(-1, height + 1, width + 1, 4 * high)
    if 4 * high < low:
        windows = [blocks[:, r : r + height, c : c + width] for r in (0, 1) for c in (0, 1)]
        kernel = _product_over_pixels(jnp.concatenate(windows, -1), y, products)
    else:
        shifts = [jnp.pad(y, ((0, 0), (r, 1 - r), (0, 0), (0, 0))) for r in (0, 1)]
        shifted = jnp.concatenate(shifts, -1)
        columns = [
            _product_over_pixels(blocks[:, :, c : c + width], shifted, products) for c in (0, 1)
        ]
        kernel = jnp.stack(columns).reshape(2, 4 * high, 2, low).transpose(2, 0, 1, 3)
    kernel = kernel.reshape(2, 2, 2, 2, high, low).transpose(0, 2, 1, 3, 4, 5)
    return kernel.reshape(4, 4, high, low)


def _shifts_pay(x: High, y: Low) -> bool:
    """Whether maps are large, and neither side has far more channels, which shifts would copy."""
    high, low = x.shape[-1], y.shape[-1]
    return x.shape[1] * x.shape[2] >= _LARGE and max(high, low) <= 2 * min(high, low)


def _is_twice(high_size: tuple[int, ...], low_size: tuple[int, ...]) -> bool:
    return tuple(high_size) == tuple(2 * side for side in low_size)


def _depthwise_by_convolution(x: Array, kernel: Array, *, precision: Precision = EXACT) -> Array:
    y = lax.conv_general_dilated(
        x.astype(kernel.dtype),
        kernel,
        (1, 1),
        [(1, 1)] * 2,
        feature_group_count=x.shape[-1],
        dimension_numbers=_DIMENSIONS,
        precision=precision,
    )
    return y.astype(x.dtype)


def _depthwise_by_taps(x: Array, kernel: Array) -> Array:
    height, width = x.shape[1:3]
    padded, kernel = widen(_pad(_pad(x, 1, 1, 1), 2, 1, 1)), widen(kernel)
    taps = [
        padded[:, r : r + height, c : c + width] * kernel[r, c] for r in range(3) for c in range(3)
    ]
    return sum(taps[1:], taps[0]).astype(x.dtype)


def _pad(x: Array, axis: int, before: int, after: int) -> Array:
    """Pads one axis with zeros; negative numbers cut off."""
    amounts = [(before, after, 0) if i == axis else (0, 0, 0) for i in range(x.ndim)]
    return lax.pad(x, jnp.zeros((), x.dtype), amounts)


def _product_over_pixels(a: Array, b: Array, products: Products) -> Array:
    return jnp.matmul(
        a.reshape(-1, a.shape[-1]).T,
        b.reshape(-1, b.shape[-1]),
        precision=products.precision,
        preferred_element_type=products.dtype,
    )
