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
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from harmony_jax.models.batchnorm import BatchNorm
from harmony_jax.models.convolution import (
    Geometry,
    convolve,
    convolve_transposed,
    depthwise_convolve,
)

relu = jax.nn.relu


@dataclass(frozen=True)
class LayerMaker:
    """Makes layers that share a compute type and a source of initial values.

    Kernels are normal with variance `init_variance / mean(fan_in, fan_out)`, as the released
    initializer ("XavierGluon") draws them; biases are 0. NumPy draws them on the host, from one
    key of `rngs` and the number of the kernel, so that they are the same on any platform, and
    nothing is compiled: JAX compiles a program for each shape, 16 s for an HRNet.

    Attributes:
        rngs: source of the initial kernels.
        dtype: compute type; parameters and statistics are float32.
        init_variance: 2 in most of the released recipes.
    """

    rngs: nnx.Rngs
    dtype: DTypeLike = jnp.float32
    init_variance: float = 2.0

    def kernel(self, *shape: int) -> nnx.Param:
        """A kernel, its last two axes input and output channels (in either order)."""
        mean_fan = math.prod(shape[:-2]) * (shape[-2] + shape[-1]) / 2
        std = math.sqrt(self.init_variance / mean_fan)
        draw = partial(_draw_normal, number=next(self._numbers), std=std, shape=shape)
        if isinstance(self._key, jax.core.Tracer):  # only shapes are wanted, or it is compiled
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
        inputs: int,
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
        kernel = self.kernel(kernel_size, kernel_size, inputs, outputs)
        return Conv(
            kernel, outputs if bias else None, Geometry(stride, padding, dilation), self.dtype
        )

    def batchnorm(self, features: int) -> BatchNorm:
        return BatchNorm(features, dtype=self.dtype)

    def conv_batchnorm(
        self,
        inputs: int,
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


class Conv(nnx.Module):
    """Convolution with a square kernel. Parameters in float32, computed in `dtype`."""

    def __init__(
        self,
        kernel: nnx.Param,
        bias_features: int | None,
        geometry: Geometry,
        dtype: DTypeLike,
    ):
        self.kernel = kernel
        self.bias = (
            None
            if bias_features is None
            else nnx.Param(jax.device_put(np.zeros(bias_features, np.float32)))
        )
        self.geometry = geometry
        self.dtype = dtype

    def __call__(
        self, x: Float[Array, "batch height width inputs"]
    ) -> Float[Array, "batch low_height low_width outputs"]:
        kernel = self.kernel[...].astype(self.dtype)
        y = convolve(x.astype(self.dtype), kernel, self.geometry)
        return y if self.bias is None else y + self.bias[...].astype(self.dtype)


class ConvTranspose(nnx.Module):
    """Transpose of a 4x4, stride-2 `Conv`: doubles the resolution.

    The kernel is [4, 4, outputs, inputs]: that of the convolution it transposes.
    """

    def __init__(self, make: LayerMaker, inputs: int, outputs: int, padding: int):
        self.kernel = make.kernel(4, 4, outputs, inputs)
        self.bias = nnx.Param(jax.device_put(np.zeros(outputs, np.float32)))
        self.geometry = Geometry(2, padding)
        self.dtype = make.dtype

    def __call__(
        self, y: Float[Array, "batch height width inputs"]
    ) -> Float[Array, "batch high_height high_width outputs"]:
        kernel, bias = self.kernel[...].astype(self.dtype), self.bias[...].astype(self.dtype)
        return convolve_transposed(y.astype(self.dtype), kernel, self.geometry) + bias


class DepthwiseConv(nnx.Module):
    """3x3 convolution of each channel by itself, without bias."""

    def __init__(self, make: LayerMaker, features: int):
        self.kernel = make.kernel(3, 3, 1, features)
        self.dtype = make.dtype

    def __call__(
        self, x: Float[Array, "batch height width features"]
    ) -> Float[Array, "batch height width features"]:
        return depthwise_convolve(x.astype(self.dtype), self.kernel[...].astype(self.dtype))


class Linear(nnx.Module):
    """Affine map of the channels."""

    def __init__(self, make: LayerMaker, inputs: int, outputs: int):
        self.kernel = make.kernel(inputs, outputs)
        self.bias = nnx.Param(jax.device_put(np.zeros(outputs, np.float32)))
        self.dtype = make.dtype

    def __call__(self, x: Float[Array, "*shape inputs"]) -> Float[Array, "*shape outputs"]:
        kernel, bias = self.kernel[...].astype(self.dtype), self.bias[...].astype(self.dtype)
        return x.astype(self.dtype) @ kernel + bias


class Buffer(nnx.BatchStat):
    """An array that belongs to a model's weights and is not trained."""


def elu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """ELU as `exp(x) - 1`, half the time of `expm1` on a CPU.

    The two differ by a rounding of 1 (6e-8), which is that of the values around it.
    """
    return jnp.where(x > 0, x, jnp.exp(jnp.minimum(x, 0)) - 1)


def concatenate(*arrays: Array) -> Array:
    """Lays channels side by side."""
    return jnp.concatenate(arrays, -1)


def max_pool(x: Float[Array, "batch height width features"], window: int) -> Array:
    """Maximum over windows that do not overlap; rows and columns left over are dropped."""
    batch, height, width, features = x.shape
    height, width = height // window, width // window
    x = x[:, : height * window, : width * window]
    return x.reshape(batch, height, window, width, window, features).max((2, 4))
