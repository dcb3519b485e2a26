"""Batch normalisation with PyTorch's conventions and two reductions each way."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from harmony_jax.models.arithmetic import widen
from harmony_jax.models.channel_padding import pad_to
from harmony_jax.models.platform_forms import by_platform, is_divided

Features = Float[Array, "batch height width features"]
Statistics = Float[Array, " features"]

_Normalized = tuple[Features, Statistics, Statistics]  # with mean and biased variance
_Residuals = tuple[Features, Statistics, Statistics, Statistics]

# Pixels of a map that is read twice. 16 maps of 4x4 with 512 channels are half a megabyte, which
# any cache holds: two passes take as long as one on a CPU core, 0.06 ms.
_FEW = 16


class BatchNorm(nnx.Module):
    """Batch normalisation with PyTorch's conventions.

    Unlike `nnx.BatchNorm`, it keeps the *unbiased* variance. At the bottleneck, where a channel has
    as many values as the batch has images, the two are far apart. Statistics are always float32.
    `num_batches_tracked` counts training steps as PyTorch does.
    """

    momentum = 0.1
    epsilon = 1e-5

    def __init__(self, features: int, *, dtype: DTypeLike):
        self.dtype = dtype
        self.use_running_average = False
        self.scale = nnx.Param(jax.device_put(np.ones(features, np.float32)))
        self.bias = nnx.Param(jax.device_put(np.zeros(features, np.float32)))
        self.mean = nnx.BatchStat(jax.device_put(np.zeros(features, np.float32)))
        self.var = nnx.BatchStat(jax.device_put(np.ones(features, np.float32)))
        self.num_batches_tracked = nnx.BatchStat(jax.device_put(np.int32(0)))

    def __call__(self, x: Features) -> Features:
        x = x.astype(self.dtype)
        # All four are 0 in padded channels, and so is the result.
        held = self.scale, self.bias, self.mean, self.var
        scale, bias, old_mean, old_var = (pad_to(variable[...], x.shape[-1]) for variable in held)
        if self.use_running_average:
            return _affine(x, old_mean, old_var, scale, bias, self.epsilon)
        y, mean, var = _normalize(x, old_mean, scale, bias, self.epsilon)
        count = x.size // x.shape[-1]
        # PyTorch refuses a single value; dividing by one keeps such a step finite.
        unbiased = var * (count / max(count - 1, 1))
        features = self.mean.shape[0]
        # Not `[...] =`, which asks traced arrays for their sharding. Writing the message of that
        # error, which nobody sees, took half of the time of tracing an HRNet's step.
        self.mean.set_value((old_mean + self.momentum * (mean - old_mean))[:features])
        self.var.set_value((old_var + self.momentum * (unbiased - old_var))[:features])
        self.num_batches_tracked.set_value(self.num_batches_tracked[...] + 1)
        return y


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _normalize(
    x: Features, near_mean: Statistics, scale: Statistics, bias: Statistics, epsilon: float
) -> _Normalized:
    """Normalises by the batch's statistics, and returns mean and biased variance.

    `near_mean` is any guess of the mean; it affects only rounding. Gradients flow only through the
    first result.
    """
    mean, var = _batch_statistics(x, near_mean)
    return _affine(x, mean, var, scale, bias, epsilon), mean, var


def _normalize_forward(
    x: Features, near_mean: Statistics, scale: Statistics, bias: Statistics, epsilon: float
) -> tuple[_Normalized, _Residuals]:
    y, mean, var = _normalize(x, near_mean, scale, bias, epsilon)
    return (y, mean, var), (x, mean, jax.lax.rsqrt(var + epsilon), scale)


def _normalize_backward(
    epsilon: float, residuals: _Residuals, gradients: _Normalized
) -> tuple[Features, Statistics, Statistics, Statistics]:
    """Takes the textbook's two sums; automatic differentiation takes five."""
    x, mean, inverse_std, scale = residuals
    gradient = gradients[0].astype(jnp.float32)
    normalized = (x.astype(jnp.float32) - mean) * inverse_std
    bias_gradient, scale_gradient = _sums(gradient, gradient * normalized)
    count = _count(x)
    centred = gradient - bias_gradient / count - normalized * (scale_gradient / count)
    x_gradient = (centred * (scale * inverse_std)).astype(x.dtype)
    return x_gradient, jnp.zeros_like(mean), scale_gradient, bias_gradient


_normalize.defvjp(_normalize_forward, _normalize_backward)


def _batch_statistics(x: Features, near_mean: Statistics) -> tuple[Statistics, Statistics]:
    x = x.astype(jnp.float32)
    if x.shape[1] * x.shape[2] <= _FEW:
        # A second pass over so little is free, and a bottleneck needs it: if its few values are
        # close, mean square minus squared mean keeps few digits.
        mean = x.mean((0, 1, 2))
        return mean, jnp.square(x - mean).mean((0, 1, 2))
    # One pass, as large maps are slow to read. The shift to near the mean keeps the two numbers
    # that are subtracted small; the difference may round to below zero.
    deviation = x - near_mean
    total, total_of_squares = _sums(deviation, jnp.square(deviation))
    offset = total / _count(x)
    var = jnp.maximum(total_of_squares / _count(x) - jnp.square(offset), 0.0)
    return near_mean + offset, var


def _count(x: Features) -> float:
    """Values of a channel; a pod's batch may have more than int32 holds."""
    return float(x.size // x.shape[-1])


def _sums(a: Features, b: Features) -> tuple[Statistics, Statistics]:
    """Each channel's sum in both arrays."""
    # Across devices XLA all-reduces a single sum, but gathers a pair of sums on every device.
    cuda = _sums_apart if is_divided() else _sums_at_once
    return by_platform(a, b, cpu=_sums_apart, default=_sums_apart, cuda=cuda)


def _sums_apart(a: Features, b: Features) -> tuple[Statistics, Statistics]:
    return a.sum((0, 1, 2)), b.sum((0, 1, 2))


def _sums_at_once(a: Features, b: Features) -> tuple[Statistics, Statistics]:
    """As one operation: XLA:GPU makes two kernels of it, and three of two sums."""
    zero = jnp.zeros((), a.dtype)
    add = partial(jax.tree.map, jax.lax.add)
    first, second = jax.lax.reduce((a, b), (zero, zero), add, (0, 1, 2))
    return first, second


def _affine(
    x: Features,
    mean: Statistics,
    var: Statistics,
    scale: Statistics,
    bias: Statistics,
    epsilon: float,
) -> Features:
    factor = scale * jax.lax.rsqrt(var + epsilon)
    offset = bias - mean * factor
    # Where the mean is large, so is the offset, and the two products cancel.
    return (widen(x) * factor + offset).astype(x.dtype)
