"""The kernel-4, stride-2 convolution of the encoder-decoder, and its transpose.

Both are one bilinear map seen from two sides. With `x` at high resolution, `y` at low resolution
and the kernel `w`:

    down(x, w)      y[i] = sum_k x[2 i - p + k] w[k]       the strided convolution
    up(y, w)        x[2 i - p + k] += y[i] w[k]            its transpose in x
    correlate(x, y) w[k] = sum_i x[2 i - p + k] y[i]       its transpose in w

so the forward and backward pass of either layer are these three functions, and it is enough to
choose a fast form of each. Accelerators get the plain `lax` forms, which move the fewest bytes
there. XLA:CPU has no fast form of a dilated convolution (`up`, 10 to 40 times slower than the
matrix product it amounts to) nor of a convolution with a kernel as large as the image
(`correlate`), so on a CPU these two are rewritten over 2x2 blocks of pixels: space-to-depth turns
the kernel-4 stride-2 convolution into a kernel-2 stride-1 one with four times the channels.
docs/performance.md has the measurements. The choice is made per platform when the program is
lowered, so ahead-of-time compilation for another platform gets that platform's form.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")

High = Float[Array, "batch height width high_channels"]
Low = Float[Array, "batch low_height low_width low_channels"]
Kernel = Float[Array, "4 4 high_channels low_channels"]


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def strided_conv(x: High, kernel: Kernel, padding: int) -> Low:
    """Convolves with a 4x4 kernel and stride 2 (PyTorch's `Conv2d(..., 4, 2, padding)`).

    Args:
        x: input, height and width even.
        kernel: indexed [row, column, input channel, output channel].
        padding: zeros added on each side, 0 or 1.

    Returns:
        The output, `(height + 2 * padding - 2) / 2` high.
    """
    return _down(x, kernel, padding)


def _strided_conv_forward(x, kernel, padding):
    return _down(x, kernel, padding), (x, kernel)


def _strided_conv_backward(padding, residuals, gradient):
    x, kernel = residuals
    return _up(gradient, kernel, padding), _correlate(x, gradient, padding)


strided_conv.defvjp(_strided_conv_forward, _strided_conv_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def strided_conv_transpose(y: Low, kernel: Kernel, padding: int) -> High:
    """Transpose of `strided_conv` (PyTorch's `ConvTranspose2d(..., 4, 2, padding)`).

    Args:
        y: input at low resolution.
        kernel: indexed [row, column, output channel, input channel], as the `strided_conv` that
            this is the transpose of.
        padding: rows and columns of the output cut off on each side, 0 or 1.

    Returns:
        The output, `2 * height + 2 - 2 * padding` high.
    """
    return _up(y, kernel, padding)


def _strided_conv_transpose_forward(y, kernel, padding):
    return _up(y, kernel, padding), (y, kernel)


def _strided_conv_transpose_backward(padding, residuals, gradient):
    y, kernel = residuals
    return _down(gradient, kernel, padding), _correlate(gradient, y, padding)


strided_conv_transpose.defvjp(_strided_conv_transpose_forward, _strided_conv_transpose_backward)


def _down(x: High, kernel: Kernel, padding: int) -> Low:
    return lax.conv_general_dilated(
        x, kernel, (2, 2), [(padding, padding)] * 2, dimension_numbers=_DIMENSIONS
    )


def _up(y: Low, kernel: Kernel, padding: int) -> High:
    return lax.platform_dependent(
        y,
        kernel,
        cpu=partial(_up_by_blocks, padding=padding),
        default=partial(_up_by_dilation, padding=padding),
    )


def _correlate(x: High, y: Low, padding: int) -> Kernel:
    return lax.platform_dependent(
        x,
        y,
        cpu=partial(_correlate_by_blocks, padding=padding),
        default=partial(_correlate_by_convolution, padding=padding),
    )


def _up_by_dilation(y: Low, kernel: Kernel, *, padding: int) -> High:
    flipped = kernel[::-1, ::-1].swapaxes(2, 3)
    return lax.conv_general_dilated(
        y,
        flipped,
        (1, 1),
        [(3 - padding, 3 - padding)] * 2,
        lhs_dilation=(2, 2),
        dimension_numbers=_DIMENSIONS,
    )


def _correlate_by_convolution(x: High, y: Low, *, padding: int) -> Kernel:
    kernel = jax.ShapeDtypeStruct((4, 4, x.shape[-1], y.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda w: _down(x, w, padding), kernel)(y)[0]


def _up_by_blocks(y: Low, kernel: Kernel, *, padding: int) -> High:
    """`up` as one kernel-2 convolution whose output channels are 2x2 blocks of pixels.

    Output rows 2 s + 1 and 2 s + 2 (before cutting) both depend on the input rows s and s + 1
    alone, through kernel rows (3, 1) and (2, 0): so shifting the blocks by one row makes all four
    pixels of a block share one 2x2 window, with no multiplication by zero.
    """
    channels = kernel.shape[2]
    taps = kernel.reshape(2, 2, 2, 2, channels, -1)[::-1, :, ::-1]
    block_kernel = taps.transpose(0, 2, 5, 1, 3, 4).reshape(2, 2, -1, 4 * channels)
    blocks = lax.conv_general_dilated(
        y, block_kernel, (1, 1), [(1, 1)] * 2, dimension_numbers=_DIMENSIONS
    )
    batch, height, width, _ = blocks.shape
    x = blocks.reshape(batch, height, width, 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
    x = x.reshape(batch, 2 * height, 2 * width, channels)
    return x[:, padding : 2 * height - padding, padding : 2 * width - padding]


def _correlate_by_blocks(x: High, y: Low, *, padding: int) -> Kernel:
    """`correlate` as matrix products over all pixels, with `x` in 2x2 blocks.

    The four shifts of one side against the other are laid side by side as channels, on the side
    where that copies less. Operands are two-dimensional because XLA:CPU transposes in memory the
    operands of a product that contracts several axes.
    """
    height, width = y.shape[1:3]
    high, low = x.shape[-1], y.shape[-1]
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    blocks = x.reshape(-1, height + 1, 2, width + 1, 2, high).transpose(0, 1, 3, 2, 4, 5)
    blocks = blocks.reshape(-1, height + 1, width + 1, 4 * high)
    if 4 * high < low:
        windows = [blocks[:, r : r + height, c : c + width] for r in (0, 1) for c in (0, 1)]
        kernel = _product_over_pixels(jnp.concatenate(windows, -1), y)
    else:
        shifts = [jnp.pad(y, ((0, 0), (r, 1 - r), (0, 0), (0, 0))) for r in (0, 1)]
        shifted = jnp.concatenate(shifts, -1)
        columns = [_product_over_pixels(blocks[:, :, c : c + width], shifted) for c in (0, 1)]
        kernel = jnp.stack(columns).reshape(2, 4 * high, 2, low).transpose(2, 0, 1, 3)
    kernel = kernel.reshape(2, 2, 2, 2, high, low).transpose(0, 2, 1, 3, 4, 5)
    return kernel.reshape(4, 4, high, low)


def _product_over_pixels(a: Array, b: Array) -> Array:
    return a.reshape(-1, a.shape[-1]).T @ b.reshape(-1, b.shape[-1])


def convolve(x, kernel, stride, padding, dilation):
    if kernel.shape[:2] == (4, 4) and stride == 2:
        return strided_conv(x, kernel, padding)
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(padding, padding)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=_DIMENSIONS,
    )


def convolve_transposed(y, kernel, padding):
    return strided_conv_transpose(y, kernel, padding)


def depthwise_convolve(x, kernel):
    return lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        [(1, 1)] * 2,
        feature_group_count=x.shape[-1],
        dimension_numbers=_DIMENSIONS,
    )
