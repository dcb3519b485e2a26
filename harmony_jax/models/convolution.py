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
memory and multiplies slowly. So on a CPU the kernel-4, stride-2 ones are rewritten over 2x2 blocks
of pixels (space-to-depth turns them into kernel-2, stride-1 ones with four times the channels),
the `correlate` of stride 1 as a matrix product, and all three of 1x1 kernels too. On a GPU the
`correlate` of a dilated convolution is rewritten (`_correlate_by_phases`). docs/performance.md has
the measurements, and what was tried and left. The choice is made per platform when the program is
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
from harmony_jax.models.platform_forms import by_platform, is_divided

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")
# From how many pixels on, or from how many channels of both sides, a CPU's kernel gradient is a
# matrix product. Below them XLA's own costs little, and is compiled faster.
_PIXELS = 64 * 64
_PIXELS_OF_STRIDE_2 = 128 * 128
_CHANNELS = 128
_PIXELS_OF_A_PART = 128 * 128
_MOST_PARTS = 8

High = Float[Array, "batch height width high_channels"]
Low = Float[Array, "batch low_height low_width low_channels"]
Kernel = Float[Array, "size size high_channels low_channels"]


class Geometry(NamedTuple):
    """Stride, padding on each side, and dilation, the same in both directions."""

    stride: int
    padding: int
    dilation: int = 1


class Products(NamedTuple):
    """How `correlate` multiplies.

    Attributes:
        precision: of products of float32.
        dtype: type of the result.
        are_parted: whether products over many pixels are computed in parts and added up.
    """

    precision: Precision = EXACT
    dtype: DTypeLike = jnp.float32
    are_parted: bool = False


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
    kernel = kernel.astype(x.dtype)
    plain = partial(_down_by_convolution, geometry=geometry, precision=precision)
    if not _is_pointwise(kernel.shape[0], geometry):
        return plain(x, kernel)
    return by_platform(x, kernel, cpu=partial(_down_by_product, precision=precision), default=plain)


def _up(
    y: Low, kernel: Kernel, high_size: tuple[int, ...], geometry: Geometry, precision: Precision
) -> High:
    kernel = kernel.astype(y.dtype)
    size = kernel.shape[0]
    plain = partial(
        _up_by_transposition, high_size=high_size, geometry=geometry, precision=precision
    )
    if _is_pointwise(size, geometry):
        cpu = partial(_up_by_product, precision=precision)
        return by_platform(y, kernel, cpu=cpu, default=plain)
    blocks: Callable[[Low, Kernel], High]
    if (size, geometry.stride, geometry.dilation) == (4, 2, 1):
        blocks = partial(_up_by_blocks, padding=geometry.padding, precision=precision)
    elif _is_halving(size, geometry, high_size, y.shape[1:3]):
        blocks = partial(_up_by_wider_blocks, precision=precision)
    else:
        return plain(y, kernel)
    return by_platform(y, kernel, cpu=blocks, default=plain, portable=blocks)


def _correlate(x: High, y: Low, kernel: Kernel, geometry: Geometry, precision: Precision) -> Kernel:
    """The transpose in the kernel, of its shape and type."""
    size = kernel.shape[0]
    products = Products(precision, kernel.dtype)
    plain = partial(_correlate_by_transposition, size=size, geometry=geometry, products=products)
    cpu = _correlate_form_of_cpu(x, y, size, geometry, products) or plain
    cuda = _correlate_form_of_cuda(x, size, geometry, products) or plain
    if cpu is plain and cuda is plain:
        return plain(x, y)
    return by_platform(x, y, cpu=cpu, cuda=cuda, default=plain)


def _correlate_form_of_cpu(
    x: High, y: Low, size: int, geometry: Geometry, products: Products
) -> Callable[[High, Low], Kernel] | None:
    products = products._replace(are_parted=not is_divided())
    pixels = x.shape[1] * x.shape[2]
    few, many = sorted((x.shape[-1], y.shape[-1]))
    if _is_pointwise(size, geometry):
        return partial(_correlate_by_product, products=products)
    if (size, geometry.stride, geometry.dilation) == (4, 2, 1):
        return partial(_correlate_by_blocks, padding=geometry.padding, products=products)
    if _is_halving(size, geometry, x.shape[1:3], y.shape[1:3]) and pixels >= _PIXELS_OF_STRIDE_2:
        return partial(_correlate_by_wider_blocks, products=products)
    if geometry.stride == 1 and (pixels >= _PIXELS or few >= _CHANNELS):
        form = _correlate_by_windows if many > 4 * few else _correlate_by_shifts
        return partial(form, size=size, geometry=geometry, products=products)
    return None


def _correlate_form_of_cuda(
    x: High, size: int, geometry: Geometry, products: Products
) -> Callable[[High, Low], Kernel] | None:
    stride, padding, dilation = geometry
    if stride > 1 or dilation == 1 or padding % dilation:
        return None
    is_small = max(x.shape[1:3]) <= size * dilation
    form = _correlate_by_shifts if is_small else _correlate_by_phases
    return partial(form, size=size, geometry=geometry, products=products)


def _is_pointwise(size: int, geometry: Geometry) -> bool:
    """Whether it is a 1x1 convolution of every pixel."""
    return (size, geometry.stride, geometry.padding) == (1, 1, 0)


def _is_halving(
    size: int, geometry: Geometry, high_size: tuple[int, ...], low_size: tuple[int, ...]
) -> bool:
    """Whether it is a 3x3 convolution that halves the resolution, of an even number of pixels."""
    is_twice = tuple(high_size) == tuple(2 * side for side in low_size)
    return (size, *geometry) == (3, 2, 1, 1) and is_twice


def _down_by_convolution(
    x: High, kernel: Kernel, *, geometry: Geometry, precision: Precision = EXACT
) -> Low:
    return lax.conv_general_dilated(
        x,
        kernel,
        (geometry.stride, geometry.stride),
        [(geometry.padding, geometry.padding)] * 2,
        rhs_dilation=(geometry.dilation, geometry.dilation),
        dimension_numbers=_DIMENSIONS,
        precision=precision,
    )


def _down_by_product(x: High, kernel: Kernel, *, precision: Precision = EXACT) -> Low:
    """`down` of a 1x1 kernel."""
    product = jnp.matmul(x.reshape(-1, x.shape[-1]), kernel[0, 0], precision=precision)
    return product.reshape(*x.shape[:-1], kernel.shape[-1])


def _up_by_product(y: Low, kernel: Kernel, *, precision: Precision = EXACT) -> High:
    """`up` of a 1x1 kernel."""
    return _down_by_product(y, kernel.swapaxes(2, 3), precision=precision)


def _up_by_transposition(
    y: Low,
    kernel: Kernel,
    *,
    high_size: tuple[int, ...],
    geometry: Geometry,
    precision: Precision = EXACT,
) -> High:
    x = jax.ShapeDtypeStruct((y.shape[0], *high_size, kernel.shape[2]), y.dtype)
    down = partial(_down_by_convolution, kernel=kernel, geometry=geometry, precision=precision)
    return jax.linear_transpose(down, x)(y)[0]


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
    offsets = _offsets(size, geometry)
    columns = [_shifted_high(x, y, 2, offset) for offset in offsets]
    rows = [_shifted_low(x, y, 1, offset) for offset in offsets]
    product = _product_over_pixels(
        jnp.concatenate(columns, -1), jnp.concatenate(rows, -1), products
    )
    return product.reshape(size, high, size, low).transpose(2, 0, 1, 3)


def _correlate_by_windows(
    x: High, y: Low, *, size: int, geometry: Geometry, products: Products = _PRODUCTS
) -> Kernel:
    """`correlate` of stride 1 as one matrix product over all pixels.

    All shifts of the side with fewer channels are laid side by side as channels. Where it has far
    fewer, that copies less than shifts of both sides.
    """
    high, low = x.shape[-1], y.shape[-1]
    taps = [
        (row, column) for row in _offsets(size, geometry) for column in _offsets(size, geometry)
    ]
    if high <= low:
        windows = [_shifted_high(_shifted_high(x, y, 1, row), y, 2, column) for row, column in taps]
        product = _product_over_pixels(jnp.concatenate(windows, -1), y, products)
        return product.reshape(size, size, high, low)
    windows = [_shifted_low(x, _shifted_low(x, y, 1, row), 2, column) for row, column in taps]
    product = _product_over_pixels(x, jnp.concatenate(windows, -1), products)
    return product.reshape(high, size, size, low).transpose(1, 2, 0, 3)


def _offsets(size: int, geometry: Geometry) -> list[int]:
    """Where along an axis of `x` a kernel's taps lie, from the pixel of `y` on (stride 1)."""
    return [geometry.dilation * tap - geometry.padding for tap in range(size)]


def _shifted_high(x: High, y: Low, axis: int, offset: int) -> Array:
    """What lies at the offset from each pixel of `y`."""
    return _pad(x, axis, -offset, y.shape[axis] + offset - x.shape[axis])


def _shifted_low(x: High, y: Low, axis: int, offset: int) -> Array:
    """Whose offset each pixel of `x` lies at."""
    return _pad(y, axis, offset, x.shape[axis] - y.shape[axis] - offset)


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
        kernel = kernel.reshape(2, 2, 2, 2, high, low).transpose(0, 2, 1, 3, 4, 5)
    else:
        shifts = [
            jnp.pad(y, ((0, 0), (r, 1 - r), (c, 1 - c), (0, 0))) for r in (0, 1) for c in (0, 1)
        ]
        kernel = _product_over_pixels(blocks, jnp.concatenate(shifts, -1), products)
        kernel = kernel.reshape(2, 2, high, 2, 2, low).transpose(3, 0, 4, 1, 2, 5)
    return kernel.reshape(4, 4, high, low)


def _correlate_by_wider_blocks(x: High, y: Low, *, products: Products = _PRODUCTS) -> Kernel:
    """`correlate` of a 3x3 kernel, padding 1: that of a 4x4 kernel, less a row and a column."""
    return _correlate_by_blocks(x, y, padding=1, products=products)[:3, :3]


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
    """`sum_i a[i] b[i]` over all pixels, for each pair of channels.

    XLA:CPU divides such a product over its threads by the channels of the result, which are few.
    Parts of the pixels are products of a batch, one for each thread.
    """
    multiply = partial(
        jnp.matmul, precision=products.precision, preferred_element_type=products.dtype
    )
    a, b = (operand.reshape(-1, operand.shape[-1]) for operand in (a, b))
    parts = _parts(len(a)) if products.are_parted else 1
    if parts == 1:  # a batch of one would be slower
        return multiply(a.T, b)
    a, b = (operand.reshape(parts, -1, operand.shape[-1]) for operand in (a, b))
    return multiply(a.mT, b).sum(0, dtype=products.dtype)


def _parts(pixels: int) -> int:
    """The most parts of equal and sufficient size, up to eight."""
    most = max(1, min(_MOST_PARTS, pixels // _PIXELS_OF_A_PART))
    return next(parts for parts in range(most, 0, -1) if pixels % parts == 0)
