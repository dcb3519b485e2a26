"""Forms of convolutions that XLA:CPU computes fast; see `convolution.py` for the notation.

Kernel-4, stride-2 convolutions are rewritten over 2x2 blocks of pixels: space-to-depth turns them
into kernel-2, stride-1 ones with four times the channels. The `correlate` of stride 1 and all three
functions of a 1x1 kernel are matrix products. docs/performance.md has the measurements.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from harmony_jax.models.arithmetic import EXACT, Precision, widen
from harmony_jax.models.platform_forms import is_divided

DIMENSIONS = ("NHWC", "HWIO", "NHWC")
# With at least so many pixels, or channels on both sides, kernel gradients are matrix products.
# Below that XLA's own cost little, and compile faster.
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
        precision: of float32 products.
        dtype: type of the result.
        are_parted: whether products over many pixels are computed in parts and added up.
    """

    precision: Precision = EXACT
    dtype: DTypeLike = jnp.float32
    are_parted: bool = False


def down_form(
    size: int, geometry: Geometry, precision: Precision
) -> Callable[[High, Kernel], Low] | None:
    """The form of `down` for a kernel of this size; None: the plain one."""
    return partial(_multiply_pixels, precision=precision) if _is_1x1(size, geometry) else None


def up_form(
    size: int,
    geometry: Geometry,
    high_size: tuple[int, ...],
    low_size: tuple[int, ...],
    precision: Precision,
) -> Callable[[Low, Kernel], High] | None:
    """The form of `up`, from images of `low_size` to such of `high_size`; None: the plain one."""
    if _is_1x1(size, geometry):
        return lambda y, kernel: _multiply_pixels(y, kernel.swapaxes(2, 3), precision=precision)
    if (size, geometry.stride, geometry.dilation) == (4, 2, 1) or _is_halving(
        size, geometry, high_size, low_size
    ):
        return partial(_up_by_blocks, padding=geometry.padding, precision=precision)
    return None


def correlate_form(
    x: High, y: Low, size: int, geometry: Geometry, products: Products
) -> Callable[[High, Low], Kernel] | None:
    """The form of `correlate` for arrays like these; None: the plain one."""
    pixels = x.shape[1] * x.shape[2]
    few, many = sorted((x.shape[-1], y.shape[-1]))
    if (size, geometry.stride, geometry.dilation) == (4, 2, 1) or (
        _is_halving(size, geometry, x.shape[1:3], y.shape[1:3]) and pixels >= _PIXELS_OF_STRIDE_2
    ):
        form = _correlate_by_blocks
    elif _is_1x1(size, geometry) or (
        geometry.stride == 1 and (pixels >= _PIXELS or few >= _CHANNELS)
    ):
        form = _correlate_by_windows if size > 1 and many > 4 * few else correlate_by_shifts
    else:
        return None
    products = products._replace(are_parted=not is_divided())
    return partial(form, size=size, geometry=geometry, products=products)


def _is_1x1(size: int, geometry: Geometry) -> bool:
    """Whether it is a 1x1 convolution of every pixel."""
    return (size, geometry.stride, geometry.padding) == (1, 1, 0)


def _is_halving(
    size: int, geometry: Geometry, high_size: tuple[int, ...], low_size: tuple[int, ...]
) -> bool:
    """Whether it is a 3x3 convolution that halves an even number of pixels on each side."""
    is_twice = tuple(high_size) == tuple(2 * side for side in low_size)
    return (size, *geometry) == (3, 2, 1, 1) and is_twice


def _multiply_pixels(x: Array, kernel: Kernel, *, precision: Precision) -> Array:
    """A 1x1 convolution."""
    product = jnp.matmul(x.reshape(-1, x.shape[-1]), kernel[0, 0], precision=precision)
    return product.reshape(*x.shape[:-1], kernel.shape[-1])


def _up_by_blocks(y: Low, kernel: Kernel, *, padding: int, precision: Precision) -> High:
    """`up` as one kernel-2 convolution whose output channels are 2x2 blocks of pixels.

    Output rows 2 s + 1 and 2 s + 2 (before cutting) both depend on the input rows s and s + 1
    alone, through kernel rows (3, 1) and (2, 0). So shifting the blocks by one row makes all four
    pixels of a block share one 2x2 window, with no multiplication by zero.

    A 3x3 kernel gets a last row and column of zeros: half of the multiplications are by zero,
    where a dilated convolution has three quarters.
    """
    if kernel.shape[0] == 3:
        kernel = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))
    channels = kernel.shape[2]
    taps = kernel.reshape(2, 2, 2, 2, channels, -1)[::-1, :, ::-1]
    block_kernel = taps.transpose(0, 2, 5, 1, 3, 4).reshape(2, 2, -1, 4 * channels)
    blocks = lax.conv_general_dilated(
        y, block_kernel, (1, 1), [(1, 1)] * 2, dimension_numbers=DIMENSIONS, precision=precision
    )
    batch, height, width, _ = blocks.shape
    x = blocks.reshape(batch, height, width, 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
    x = x.reshape(batch, 2 * height, 2 * width, channels)
    return x[:, padding : 2 * height - padding, padding : 2 * width - padding]


def _correlate_by_blocks(
    x: High, y: Low, *, size: int, geometry: Geometry, products: Products
) -> Kernel:
    """`correlate` of stride 2 as matrix products over all pixels, with `x` in 2x2 blocks.

    The four shifts of one side against the other are laid side by side as channels, on the side
    where that copies less. The gradient of a 3x3 kernel is that of a 4x4 one without its last row
    and column.
    """
    height, width = y.shape[1:3]
    high, low = x.shape[-1], y.shape[-1]
    x = pad_sides(x, [(geometry.padding, geometry.padding)] * 2)
    blocks = x.reshape(-1, height + 1, 2, width + 1, 2, high).transpose(0, 1, 3, 2, 4, 5)
    blocks = blocks.reshape(-1, height + 1, width + 1, 4 * high)
    corners = [(row, column) for row in (0, 1) for column in (0, 1)]
    if 4 * high < low:
        windows = [blocks[:, r : r + height, c : c + width] for r, c in corners]
        kernel = _product_over_pixels(jnp.concatenate(windows, -1), y, products)
        kernel = kernel.reshape(2, 2, 2, 2, high, low).transpose(0, 2, 1, 3, 4, 5)
    else:
        shifts = [pad_sides(y, [(r, 1 - r), (c, 1 - c)]) for r, c in corners]
        kernel = _product_over_pixels(blocks, jnp.concatenate(shifts, -1), products)
        kernel = kernel.reshape(2, 2, high, 2, 2, low).transpose(3, 0, 4, 1, 2, 5)
    return kernel.reshape(4, 4, high, low)[:size, :size]


def correlate_by_shifts(
    x: High, y: Low, *, size: int, geometry: Geometry, products: Products
) -> Kernel:
    """`correlate` of stride 1 as one matrix product over all pixels.

    The column shifts of `x` and the row shifts of `y` are laid side by side as channels, so that
    each pair of them is a tap of the kernel.
    """
    high, low = x.shape[-1], y.shape[-1]
    offsets = _offsets(size, geometry)
    columns = [_shifted_high(x, y, (None, offset)) for offset in offsets]
    rows = [_shifted_low(x, y, (offset, None)) for offset in offsets]
    product = _product_over_pixels(
        jnp.concatenate(columns, -1), jnp.concatenate(rows, -1), products
    )
    return product.reshape(size, high, size, low).transpose(2, 0, 1, 3)


def _correlate_by_windows(
    x: High, y: Low, *, size: int, geometry: Geometry, products: Products
) -> Kernel:
    """The same with all shifts on the side with fewer channels.

    Where that has far fewer, it copies less than shifts of both sides.
    """
    high, low = x.shape[-1], y.shape[-1]
    offsets = _offsets(size, geometry)
    taps = [(row, column) for row in offsets for column in offsets]
    if high <= low:
        windows = jnp.concatenate([_shifted_high(x, y, tap) for tap in taps], -1)
        return _product_over_pixels(windows, y, products).reshape(size, size, high, low)
    windows = jnp.concatenate([_shifted_low(x, y, tap) for tap in taps], -1)
    product = _product_over_pixels(x, windows, products)
    return product.reshape(high, size, size, low).transpose(1, 2, 0, 3)


def _offsets(size: int, geometry: Geometry) -> list[int]:
    """Where in `x` a kernel's taps lie along an axis, relative to the pixel of `y` (stride 1)."""
    return [geometry.dilation * tap - geometry.padding for tap in range(size)]


def _shifted_high(x: High, y: Low, offsets: Sequence[int | None]) -> Array:
    """`x` shifted so that each pixel of `y` finds the one at the offset; None: not that axis."""
    sides = zip(x.shape[1:3], y.shape[1:3], offsets, strict=True)
    return pad_sides(
        x, [(0, 0) if at is None else (-at, low + at - high) for high, low, at in sides]
    )


def _shifted_low(x: High, y: Low, offsets: Sequence[int | None]) -> Array:
    """`y` shifted so that pixel i of `x` finds y[i - offset]; None: not that axis."""
    sides = zip(x.shape[1:3], y.shape[1:3], offsets, strict=True)
    return pad_sides(
        y, [(0, 0) if at is None else (at, high - low - at) for high, low, at in sides]
    )


def depthwise_by_taps(x: Array, kernel: Array) -> Array:
    """A 3x3 depthwise convolution as a sum of nine products."""
    height, width = x.shape[1:3]
    padded, kernel = widen(pad_sides(x, [(1, 1)] * 2)), widen(kernel)
    taps = [
        padded[:, r : r + height, c : c + width] * kernel[r, c] for r in range(3) for c in range(3)
    ]
    return sum(taps[1:], taps[0]).astype(x.dtype)


def pad_sides(x: Array, amounts: Sequence[tuple[int, int]]) -> Array:
    """Zeros before and after the rows and columns; negative amounts cut off."""
    config = [(0, 0, 0), *((before, after, 0) for before, after in amounts), (0, 0, 0)]
    return lax.pad(x, jnp.zeros((), x.dtype), config)


def _product_over_pixels(a: Array, b: Array, products: Products) -> Array:
    """`sum_i a[i] b[i]` over all pixels, for each pair of channels.

    Operands are two-dimensional because XLA:CPU transposes in memory the operands of a product
    that contracts several axes. It divides such a product over its threads by the channels of the
    result, which are few. So parts of the pixels are products of a batch, one for each thread.
    """
    multiply = partial(
        jnp.matmul, precision=products.precision, preferred_element_type=products.dtype
    )
    a, b = (operand.reshape(-1, operand.shape[-1]) for operand in (a, b))
    most = min(_MOST_PARTS, len(a) // _PIXELS_OF_A_PART) if products.are_parted else 1
    parts = next((parts for parts in range(most, 1, -1) if len(a) % parts == 0), 1)
    if parts == 1:  # a batch of one would be slower
        return multiply(a.T, b)
    a, b = (operand.reshape(parts, -1, operand.shape[-1]) for operand in (a, b))
    return multiply(a.mT, b).sum(0, dtype=products.dtype)
