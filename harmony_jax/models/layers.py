"""Layers with the released models' behaviour: strided convolutions, batch normalisation, ELU."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from harmony_jax.models.strided_conv import strided_conv, strided_conv_transpose

# Normal with variance 2 / mean(fan_in, fan_out): the released initializer ("XavierGluon").
kernel_init = jax.nn.initializers.variance_scaling(2.0, "fan_avg", "normal")


class StridedConv(nnx.Module):
    """4x4 convolution with stride 2 and bias. Parameters in float32, computed in `dtype`."""

    def __init__(
        self, inputs: int, outputs: int, *, padding: int, dtype: DTypeLike, rngs: nnx.Rngs
    ):
        self.padding = padding
        self.dtype = dtype
        self.kernel = nnx.Param(kernel_init(rngs.params(), (4, 4, inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros(outputs))

    def __call__(
        self, x: Float[Array, "batch height width inputs"]
    ) -> Float[Array, "batch low_height low_width outputs"]:
        kernel, bias = self.kernel[...].astype(self.dtype), self.bias[...].astype(self.dtype)
        return strided_conv(x, kernel, self.padding) + bias


class StridedConvTranspose(nnx.Module):
    """Transpose of `StridedConv`: doubles the resolution. The kernel is [4, 4, outputs, inputs]."""

    def __init__(
        self, inputs: int, outputs: int, *, padding: int, dtype: DTypeLike, rngs: nnx.Rngs
    ):
        self.padding = padding
        self.dtype = dtype
        self.kernel = nnx.Param(kernel_init(rngs.params(), (4, 4, outputs, inputs)))
        self.bias = nnx.Param(jnp.zeros(outputs))

    def __call__(
        self, y: Float[Array, "batch height width inputs"]
    ) -> Float[Array, "batch high_height high_width outputs"]:
        kernel, bias = self.kernel[...].astype(self.dtype), self.bias[...].astype(self.dtype)
        return strided_conv_transpose(y, kernel, self.padding) + bias


class BatchNorm(nnx.Module):
    """Batch normalisation with PyTorch's conventions.

    Differs from `nnx.BatchNorm` in the running variance, which is the *unbiased* one: at the
    bottleneck, where a channel has as many values as the batch has images, the two are far apart.
    Statistics are always float32. `num_batches_tracked` counts training steps as PyTorch does.
    """

    momentum = 0.1
    epsilon = 1e-5

    def __init__(self, features: int, *, dtype: DTypeLike):
        self.dtype = dtype
        self.use_running_average = False
        self.scale = nnx.Param(jnp.ones(features))
        self.bias = nnx.Param(jnp.zeros(features))
        self.mean = nnx.BatchStat(jnp.zeros(features))
        self.var = nnx.BatchStat(jnp.ones(features))
        self.num_batches_tracked = nnx.BatchStat(jnp.zeros((), jnp.int32))

    def __call__(
        self, x: Float[Array, "batch height width features"]
    ) -> Float[Array, "batch height width features"]:
        if self.use_running_average:
            mean, var = self.mean[...], self.var[...]
        else:
            mean, var = self._update_statistics(x)
        factor = self.scale[...] * jax.lax.rsqrt(var + self.epsilon)
        offset = self.bias[...] - mean * factor
        return x * factor.astype(self.dtype) + offset.astype(self.dtype)

    def _update_statistics(self, x: Array) -> tuple[Array, Array]:
        x = x.astype(jnp.float32)
        count = x.size // x.shape[-1]
        mean = x.mean((0, 1, 2))
        # Clipped: the difference of two close numbers may round below zero.
        var = jnp.maximum(jnp.square(x).mean((0, 1, 2)) - jnp.square(mean), 0.0)
        # PyTorch refuses a single value; dividing by one keeps such a step finite.
        unbiased = var * (count / max(count - 1, 1))
        self.mean[...] += self.momentum * (jax.lax.stop_gradient(mean) - self.mean[...])
        self.var[...] += self.momentum * (jax.lax.stop_gradient(unbiased) - self.var[...])
        self.num_batches_tracked[...] += 1
        return mean, var


def elu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """ELU as `exp(x) - 1`, half the time of `expm1` on a CPU.

    The two differ by a rounding of 1 (6e-8), which is that of the values around it.
    """
    return jnp.where(x > 0, x, jnp.exp(jnp.minimum(x, 0)) - 1)
