"""Layers with the released models' behaviour, and `LayerMaker`, which networks build them with."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import count

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from harmony_jax.models.arithmetic import EXACT, Precision, widen
from harmony_jax.models.batchnorm import BatchNorm
from harmony_jax.models.channel_padding import (
    Channels,
    are_outputs_padded,
    pad_axis,
    pad_to,
    segments_of,
)
from harmony_jax.models.convolution import convolve, convolve_transposed, depthwise_convolve
from harmony_jax.models.convolution_cpu import Geometry
from harmony_jax.models.platform_forms import by_platform

relu = jax.nn.relu


@dataclass(frozen=True)
class LayerMaker:
    """Makes layers that share a compute type and a source of initial values.

    Kernels are normal with variance `init_variance / mean(fan_in, fan_out)`, as the released
    initializer ("XavierGluon") draws them; biases are 0. NumPy draws them on the host, from one
    key of `rngs` and the kernel's number. So they are the same on any platform, and nothing is
    compiled: JAX compiles a program for each shape, which takes 16 s for an HRNet.

    Attributes:
        rngs: source of the initial kernels.
        dtype: compute type; parameters and statistics are float32.
        init_variance: 2 in most of the released recipes.
        precision: of float32 products.
        gradient_dtype: type in which gradients of kernels are accumulated and summed over devices;
            at least as wide as `dtype`, and by default the same.
    """

    rngs: nnx.Rngs
    dtype: DTypeLike = jnp.float32
    init_variance: float = 2.0
    precision: Precision = EXACT
    gradient_dtype: DTypeLike | None = None

    @property
    def kernel_dtype(self) -> DTypeLike:
        """The type that a kernel is cast to before use, and that its gradient then has."""
        return self.gradient_dtype or self.dtype

    def kernel(self, *shape: int) -> nnx.Param:
        """A kernel, its last two axes input and output channels (in either order)."""
        mean_fan = math.prod(shape[:-2]) * (shape[-2] + shape[-1]) / 2
        std = math.sqrt(self.init_variance / mean_fan)
        draw = partial(_draw_normal, number=next(self._numbers), std=std, shape=shape)
        if isinstance(self._key, jax.core.Tracer):  # under `nnx.eval_shape` or `jax.jit`
            result = jax.ShapeDtypeStruct(shape, jnp.float32)
            return nnx.Param(jax.pure_callback(draw, result, self._key))
        return nnx.Param(jax.device_put(draw(self._key)))

    @cached_property
    def _key(self) -> Array:
        return jax.random.key_data(self.rngs.params())

    @cached_property
    def _numbers(self) -> Iterator[int]:
        return count()

    def conv(
        self,
        inputs: Channels,
        outputs: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int | None = None,
        dilation: int = 1,
        bias: bool = True,
    ) -> "Conv":
        """A convolution; by default padded to keep the size (over the stride)."""
        if padding is None:
            padding = dilation * (kernel_size - 1) // 2
        segments = segments_of(inputs)
        kernel = self.kernel(kernel_size, kernel_size, sum(segments), outputs)
        geometry = Geometry(stride, padding, dilation)
        return Conv(self, kernel, outputs if bias else None, geometry, segments)

    def batchnorm(self, features: int) -> BatchNorm:
        return BatchNorm(features, dtype=self.dtype)

    def conv_batchnorm(
        self,
        inputs: Channels,
        outputs: int,
        kernel_size: int,
        activation: Callable[[Array], Array] | None = relu,
        *,
        stride: int = 1,
        dilation: int = 1,
        bias: bool = False,
    ) -> "Sequential":
        """Convolution, batch normalisation and activation."""
        conv = self.conv(inputs, outputs, kernel_size, stride=stride, dilation=dilation, bias=bias)
        return Sequential([conv, self.batchnorm(outputs), activation])


def _draw_normal(key: Array, number: int, std: float, shape: tuple[int, ...]) -> np.ndarray:
    """Normal values that depend on key and number alone."""
    rng = np.random.default_rng([*np.asarray(key).tolist(), number])
    return rng.standard_normal(shape, np.float32) * np.float32(std)


class Sequential(nnx.List):
    """Layers and functions applied in order; None stands for the identity.

    Its members' paths are their positions, as in PyTorch's `Sequential`.
    """

    def __call__(self, x: Array) -> Array:
        for layer in self:
            if layer is not None:
                x = layer(x)
        return x


class Named(nnx.Module):
    """Applies one layer, held under a name of the released modules for the sake of its path."""

    def __init__(self, name: str, layer: nnx.Module):
        self.name = name
        setattr(self, name, layer)

    def __call__(self, x: Array) -> Array:
        return getattr(self, self.name)(x)


class Conv(nnx.Module):
    """Convolution with a square kernel. Parameters in float32, computed in `dtype`.

    Its input may have padded channels, segment by segment (`channel_padding`).
    """

    def __init__(
        self,
        make: LayerMaker,
        kernel: nnx.Param,
        bias_features: int | None,
        geometry: Geometry,
        segments: tuple[int, ...],
    ):
        self.kernel = kernel
        self.bias = None if bias_features is None else constants(bias_features)
        self.geometry, self.segments = geometry, segments
        self.dtype, self.kernel_dtype = make.dtype, make.kernel_dtype
        self.precision = make.precision

    def __call__(
        self, x: Float[Array, "batch height width inputs"]
    ) -> Float[Array, "batch low_height low_width outputs"]:
        kernel = self.kernel[...].astype(self.kernel_dtype)
        if x.shape[-1] > kernel.shape[-2]:
            kernel = pad_axis(kernel, -2, self.segments)
        if are_outputs_padded():
            kernel = pad_axis(kernel, -1)
        y = convolve(x.astype(self.dtype), kernel, self.geometry, self.precision)
        return y if self.bias is None else add(y, pad_to(self.bias[...], y.shape[-1]))


class ConvTranspose(nnx.Module):
    """Transpose of a 4x4, stride-2 `Conv`: doubles the resolution.

    The kernel is [4, 4, outputs, inputs]: that of the convolution it transposes. Its input may have
    padded channels, segment by segment (`channel_padding`).
    """

    def __init__(self, make: LayerMaker, inputs: Channels, outputs: int, padding: int):
        self.segments = segments_of(inputs)
        self.kernel = make.kernel(4, 4, outputs, sum(self.segments))
        self.bias = constants(outputs)
        self.geometry = Geometry(2, padding)
        self.dtype, self.kernel_dtype = make.dtype, make.kernel_dtype
        self.precision = make.precision

    def __call__(
        self, y: Float[Array, "batch height width inputs"]
    ) -> Float[Array, "batch high_height high_width outputs"]:
        kernel = self.kernel[...].astype(self.kernel_dtype)
        if y.shape[-1] > kernel.shape[-1]:
            kernel = pad_axis(kernel, -1, self.segments)
        x = convolve_transposed(y.astype(self.dtype), kernel, self.geometry, self.precision)
        return add(x, self.bias[...])


class DepthwiseConv(nnx.Module):
    """3x3 convolution of each channel by itself, without bias."""

    def __init__(self, make: LayerMaker, features: int):
        self.kernel = make.kernel(3, 3, 1, features)
        self.dtype, self.kernel_dtype = make.dtype, make.kernel_dtype
        self.precision = make.precision

    def __call__(
        self, x: Float[Array, "batch height width features"]
    ) -> Float[Array, "batch height width features"]:
        kernel = self.kernel[...].astype(self.kernel_dtype)
        return depthwise_convolve(x.astype(self.dtype), kernel, self.precision)


class Linear(nnx.Module):
    """Affine map of an image's pooled channels: so few that it is always float32."""

    def __init__(self, make: LayerMaker, inputs: int, outputs: int):
        self.kernel = make.kernel(inputs, outputs)
        self.bias = constants(outputs)
        self.precision = make.precision

    def __call__(self, x: Float[Array, "*shape inputs"]) -> Float[Array, "*shape outputs"]:
        product = jnp.matmul(widen(x), self.kernel[...], precision=self.precision)
        return product + self.bias[...]


class Buffer(nnx.BatchStat):
    """An array that belongs to a model's weights and is not trained."""


def constants(number: int, value: float = 0.0) -> nnx.Param:
    """A float32 parameter that starts from one value."""
    return nnx.Param(jax.device_put(np.full(number, value, np.float32)))


def elu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """ELU as `exp(x) - 1`, which takes half the time of `expm1` on a CPU.

    The two differ by at most the rounding of 1 in float32 (6e-8).
    """
    wide = widen(x)
    return jnp.where(wide > 0, wide, jnp.exp(jnp.minimum(wide, 0)) - 1).astype(x.dtype)


def leaky_relu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Leaky ReLU with the released slope."""
    return jax.nn.leaky_relu(widen(x), 0.2).astype(x.dtype)


def add(first: Array, *others: Array) -> Array:
    """The sum of arrays that broadcast, rounded once to the type of the first."""
    total = widen(first)
    for other in others:
        total = total + other
    return total.astype(first.dtype)


def apply_dropout(
    dropout: nnx.Dropout, x: Float[Array, "*shape"], rngs: nnx.Rngs | None
) -> Float[Array, "*shape"]:
    """Dropout in training, computed in float32: its scale has more digits than bfloat16."""
    return x if dropout.deterministic else dropout(widen(x), rngs=rngs).astype(x.dtype)


def concatenate(*arrays: Array) -> Array:
    """Lays channels side by side."""
    return jnp.concatenate(arrays, -1)


def max_pool(x: Float[Array, "batch height width features"], window: int) -> Array:
    """Maximum over adjacent windows; rows and columns that fill none are dropped."""
    batch, height, width, features = x.shape
    height, width = height // window, width // window
    x = x[:, : height * window, : width * window]
    x = x.reshape(batch, height, window, width, window, features).max((2, 4))
    if x.dtype == jnp.float32:
        return x
    # XLA:CPU of jaxlib 0.12 fuses a reduction with the bfloat16 convolutions after it, and the
    # result is NaN in places. The barrier keeps them apart.
    return by_platform(x, cpu=lax.optimization_barrier, default=lambda x: x)
