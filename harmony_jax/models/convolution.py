"""Convolutions, with gradients in the form that each platform computes fastest.

With `x` at high resolution, `y` at low resolution and the kernel `w`, a convolution of stride s,
padding p and dilation d and its two transposes are

    down(x, w)      y[i] = sum_k x[s i - p + d k] w[k]       the convolution
    up(y, w)        x[s i - p + d k] += y[i] w[k]            its transpose in x
    correlate(x, y) w[k] = sum_i x[s i - p + d k] y[i]       its transpose in w

The forward and backward pass of a convolution and of a transposed convolution are these three
functions, so it is enough to choose a fast form of each. Accelerators get the plain `lax` forms,
which move the fewest bytes there. XLA:CPU is slow at dilated convolutions (`up`) and at
`correlate`; its forms are in `convolution_cpu.py`. On a GPU the `correlate` of a dilated
convolution is rewritten (`_correlate_by_phases`). The form is chosen per platform when the program
is lowered, so a program compiled ahead of time for another platform gets that platform's form.

A kernel may have a wider type than the images. It is rounded to their type for the products, and
its gradient comes in its own type: that of a float32 kernel of bfloat16 images is accumulated, and
summed over devices, in float32.
"""

from functools import partial

import jax
from jax import lax
from jaxtyping import Array, Float

from harmony_jax.models import convolution_cpu as cpu_forms
from harmony_jax.models.arithmetic import EXACT, Precision
from harmony_jax.models.convolution_cpu import (
    DIMENSIONS,
    Geometry,
    High,
    Kernel,
    Low,
    Products,
    pad_sides,
)
from harmony_jax.models.platform_forms import by_platform


def convolve(x: High, kernel: Kernel, geometry: Geometry, precision: Precision = EXACT) -> Low:
    """Convolves (PyTorch's `Conv2d` without bias).

    Args:
        x: input.
        kernel: indexed [row, column, input channel, output channel].
        geometry: of the convolution.
        precision: of float32 products, here and in the gradients.

    Returns:
        The output, `(height + 2 * padding - dilation * (size - 1) - 1) // stride + 1` high.
    """
    if kernel.shape[0] == 3 and geometry.stride == 1 and _centre_alone_counts(x, geometry):
        kernel, geometry = kernel[1:2, 1:2], Geometry(1, 0)
    return _convolve(x, kernel, geometry, precision)


def _centre_alone_counts(x: High, geometry: Geometry) -> bool:
    """Whether the outer taps of a 3x3 kernel meet nothing but padding."""
    dilation = geometry.dilation
    return geometry.padding == dilation and dilation >= max(x.shape[1:3])


def convolve_transposed(
    y: Low, kernel: Kernel, geometry: Geometry, precision: Precision = EXACT
) -> High:
    """Transpose of `convolve` (PyTorch's `ConvTranspose2d` without bias).

    Args:
        y: input at low resolution.
        kernel: indexed [row, column, output channel, input channel], as in the `convolve` that is
            transposed.
        geometry: of that convolution; its padding cuts off rows and columns of the output.
        precision: of float32 products, here and in the gradients.

    Returns:
        The output, `stride * (height - 1) + dilation * (size - 1) + 1 - 2 * padding` high.
    """
    return _transpose(y, kernel, geometry, precision)


def depthwise_convolve(
    x: Float[Array, "batch height width channels"],
    kernel: Float[Array, "3 3 1 channels"],
    precision: Precision = EXACT,
) -> Float[Array, "batch height width channels"]:
    """Convolves each channel with its own kernel, padded to keep the size.

    Products are computed in the kernel's type if that is wider than `x`.
    """
    convolution = partial(_depthwise_by_convolution, precision=precision)
    return by_platform(x, kernel, cpu=cpu_forms.depthwise_by_taps, default=convolution)


def _down(x: High, kernel: Kernel, geometry: Geometry, precision: Precision) -> Low:
    kernel = kernel.astype(x.dtype)
    plain = partial(_down_by_convolution, geometry=geometry, precision=precision)
    cpu = cpu_forms.down_form(kernel.shape[0], geometry, precision)
    return plain(x, kernel) if cpu is None else by_platform(x, kernel, cpu=cpu, default=plain)


def _up(
    y: Low, kernel: Kernel, high_size: tuple[int, ...], geometry: Geometry, precision: Precision
) -> High:
    kernel = kernel.astype(y.dtype)

    def plain(y: Low, kernel: Kernel) -> High:
        x = jax.ShapeDtypeStruct((y.shape[0], *high_size, kernel.shape[2]), y.dtype)
        down = partial(_down_by_convolution, kernel=kernel, geometry=geometry, precision=precision)
        return jax.linear_transpose(down, x)(y)[0]

    cpu = cpu_forms.up_form(kernel.shape[0], geometry, high_size, y.shape[1:3], precision)
    if cpu is None:
        return plain(y, kernel)
    portable = plain if kernel.shape[0] == 1 else cpu
    return by_platform(y, kernel, cpu=cpu, default=plain, portable=portable)


def _correlate(x: High, y: Low, kernel: Kernel, geometry: Geometry, precision: Precision) -> Kernel:
    """The transpose in the kernel, of its shape and type."""
    size, products = kernel.shape[0], Products(precision, kernel.dtype)
    plain = partial(_correlate_by_transposition, size=size, geometry=geometry, products=products)
    cpu = cpu_forms.correlate_form(x, y, size, geometry, products)
    cuda = None
    if geometry.stride == 1 < geometry.dilation and geometry.padding % geometry.dilation == 0:
        # Phases no larger than the kernel would be correlated as XLA:GPU does the whole.
        is_small = max(x.shape[1:3]) <= size * geometry.dilation
        form = cpu_forms.correlate_by_shifts if is_small else _correlate_by_phases
        cuda = partial(form, size=size, geometry=geometry, products=products)
    if cpu is None and cuda is None:
        return plain(x, y)
    return by_platform(x, y, cpu=cpu or plain, cuda=cuda or plain, default=plain)


def _up_whole(y: Low, kernel: Kernel, geometry: Geometry, precision: Precision) -> High:
    """`up` to images of the size that the geometry says."""
    extent = geometry.dilation * (kernel.shape[0] - 1) + 1 - 2 * geometry.padding
    height, width = (geometry.stride * (side - 1) + extent for side in y.shape[1:3])
    return _up(y, kernel, (height, width), geometry, precision)


def _convolve_backward(
    geometry: Geometry, precision: Precision, residuals: tuple[High, Kernel], gradient: Low
) -> tuple[High, Kernel]:
    x, kernel = residuals
    return (
        _up(gradient, kernel, x.shape[1:3], geometry, precision),
        _correlate(x, gradient, kernel, geometry, precision),
    )


def _transpose_backward(
    geometry: Geometry, precision: Precision, residuals: tuple[Low, Kernel], gradient: High
) -> tuple[Low, Kernel]:
    y, kernel = residuals
    return (
        _down(gradient, kernel, geometry, precision),
        _correlate(gradient, y, kernel, geometry, precision),
    )


_convolve = jax.custom_vjp(_down, nondiff_argnums=(2, 3))
_convolve.defvjp(lambda *inputs: (_down(*inputs), inputs[:2]), _convolve_backward)
_transpose = jax.custom_vjp(_up_whole, nondiff_argnums=(2, 3))
_transpose.defvjp(lambda *inputs: (_up_whole(*inputs), inputs[:2]), _transpose_backward)


def _down_by_convolution(
    x: High, kernel: Kernel, *, geometry: Geometry, precision: Precision
) -> Low:
    return lax.conv_general_dilated(
        x,
        kernel,
        (geometry.stride, geometry.stride),
        [(geometry.padding, geometry.padding)] * 2,
        rhs_dilation=(geometry.dilation, geometry.dilation),
        dimension_numbers=DIMENSIONS,
        precision=precision,
    )


def _correlate_by_transposition(
    x: High, y: Low, *, size: int, geometry: Geometry, products: Products
) -> Kernel:
    """What `linear_transpose` gives, but with a type of its own for the result."""
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


def _correlate_by_phases(
    x: High, y: Low, *, size: int, geometry: Geometry, products: Products
) -> Kernel:
    """`correlate` of a dilated convolution whose padding is a multiple of the dilation.

    The rows and columns of each phase are an image of their own, in which the kernel is not
    dilated. XLA:GPU has no kernel gradient of dilated convolutions: it runs a convolution with
    kernels as large as the maps.
    """
    dilation = geometry.dilation

    def phases(images: Array) -> Array:
        images = pad_sides(images, [(0, -side % dilation) for side in images.shape[1:3]])
        batch, height, width, channels = images.shape
        rows, columns = height // dilation, width // dilation
        images = images.reshape(batch, rows, dilation, columns, dilation, channels)
        return images.transpose(0, 2, 4, 1, 3, 5).reshape(-1, rows, columns, channels)

    plain = Geometry(1, geometry.padding // dilation)
    return _correlate_by_transposition(
        phases(x), phases(y), size=size, geometry=plain, products=products
    )


def _depthwise_by_convolution(x: Array, kernel: Array, *, precision: Precision) -> Array:
    y = lax.conv_general_dilated(
        x.astype(kernel.dtype),
        kernel,
        (1, 1),
        [(1, 1)] * 2,
        feature_group_count=x.shape[-1],
        dimension_numbers=DIMENSIONS,
        precision=precision,
    )
    return y.astype(x.dtype)
