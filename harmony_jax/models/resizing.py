"""Bilinear resizing with aligned corners, in the form that each platform computes fastest."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from harmony_jax.models.arithmetic import EXACT, widen
from harmony_jax.models.platform_forms import by_platform

# Precision for narrower types computed in float32: their values are exact in it, and weights are
# rounded far more finely than the result. On a TPU it is half the work of exact products.
_NARROW = lax.Precision.HIGH


def resize(
    x: Float[Array, "batch height width features"], size: Sequence[int]
) -> Float[Array, "batch new_height new_width features"]:
    """Resizes bilinearly as PyTorch does with `align_corners=True`.

    Args:
        x: of any type; computed in float32, whatever a model's precision, and rounded once.
        size: the new height and width, each at least 1.
    """
    height, width = size
    return x if x.shape[1:3] == (height, width) else _resize(x, (height, width))


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _resize(x: Array, size: tuple[int, int]) -> Array:
    """A CPU gathers rows, then columns, a GPU all at once; a TPU prefers matrix products."""
    gathering = partial(_by_gathering, size=size)
    return by_platform(
        x,
        cpu=gathering,
        cuda=partial(_by_gathering_at_once, size=size),
        default=partial(_by_products, size=size),
        portable=gathering,
    )


def _resize_forward(x: Array, size: tuple[int, int]) -> tuple[Array, Array]:
    return _resize(x, size), x


def _resize_backward(size: tuple[int, int], x: Array, gradient: Array) -> tuple[Array]:
    # The transpose of a gather is a scatter, slow everywhere.
    def products(gradient: Array) -> Array:
        return jax.linear_transpose(partial(_by_products, size=size), x)(gradient)[0]

    def gathering(gradient: Array) -> Array:
        return _transposed_by_gathering(gradient, size=x.shape[1:3])

    return (by_platform(gradient, cpu=products, cuda=gathering, default=products),)


_resize.defvjp(_resize_forward, _resize_backward)


def _by_products(x: Array, *, size: tuple[int, int]) -> Array:
    rows, columns = (_weights(old, new) for old, new in zip(x.shape[1:3], size, strict=True))
    wide = widen(x)
    precision = EXACT if wide.dtype == x.dtype else _NARROW
    if x.shape[1] != size[0]:
        wide = jnp.einsum("ph,bhwc->bpwc", rows, wide, precision=precision)
    if x.shape[2] != size[1]:
        wide = jnp.einsum("qw,bpwc->bpqc", columns, wide, precision=precision)
    return wide.astype(x.dtype)


def _by_gathering_at_once(x: Array, *, size: tuple[int, int]) -> Array:
    """The same without intermediate arrays: XLA:GPU fuses it into the kernel that uses it."""
    (above, below, down), (left, right, along) = (
        _neighbours(old, new) for old, new in zip(x.shape[1:3], size, strict=True)
    )

    def at(rows: np.ndarray, columns: np.ndarray) -> Array:
        return widen(x.at[:, rows[:, None], columns].get(mode="promise_in_bounds"))

    def at_columns(columns: np.ndarray) -> Array:
        low, high = at(above, columns), at(below, columns)
        return low + jnp.asarray(down[:, None, None], low.dtype) * (high - low)

    low, high = at_columns(left), at_columns(right)
    return (low + jnp.asarray(along[:, None], low.dtype) * (high - low)).astype(x.dtype)


def _by_gathering(x: Array, *, size: tuple[int, int]) -> Array:
    dtype, x = x.dtype, widen(x)
    for axis, new in zip((1, 2), size, strict=True):
        old = x.shape[axis]
        if old != new:
            before, after, between = _neighbours(old, new)
            fraction = jnp.asarray(between, x.dtype)
            fraction = fraction.reshape([-1 if i == axis else 1 for i in range(x.ndim)])
            low, high = (jnp.take(x, index, axis=axis, mode="clip") for index in (before, after))
            x = low + fraction * (high - low)
    return x.astype(dtype)


def _transposed_by_gathering(y: Array, *, size: Sequence[int]) -> Array:
    """Sums, for each old position, the few new ones around it."""
    dtype, y = y.dtype, widen(y)
    for axis, old in zip((1, 2), size, strict=True):
        new = y.shape[axis]
        if old != new:
            weights = _weights(old, new)
            taps = np.count_nonzero(weights, 0).max()
            # The largest weights first; if an old position has fewer, the others are 0.
            nearest = np.argsort(-weights, 0, kind="stable")[:taps]
            parts = []
            for index in nearest:
                weight = jnp.asarray(weights[index, np.arange(old)], y.dtype)
                weight = weight.reshape([-1 if i == axis else 1 for i in range(y.ndim)])
                parts.append(weight * jnp.take(y, index, axis=axis, mode="clip"))
            y = sum(parts[1:], parts[0])
    return y.astype(dtype)


def _neighbours(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each new position: the old ones before and after it, and where it lies between them."""
    position = _positions(old, new)
    before = np.minimum(position.astype(np.int32), old - 1)
    return before, np.minimum(before + 1, old - 1), position - before


def _weights(old: int, new: int) -> np.ndarray:
    """Weights of the `old` positions at each of the `new` ones: [new, old]."""
    distance = np.abs(_positions(old, new)[:, None] - np.arange(old))
    return np.maximum(1 - distance, 0).astype(np.float32)


def _positions(old: int, new: int) -> np.ndarray:
    scale = np.float32((old - 1) / (new - 1) if new > 1 else 0)
    return np.arange(new, dtype=np.float32) * scale
