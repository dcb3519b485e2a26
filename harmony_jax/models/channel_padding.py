"""Channels padded with zeros to multiples of 8, as a GPU's tensor cores take them.

If channels are not a multiple of 8, cuDNN pads them in kernels of its own before and after each
convolution. HRNet's 18 and 36 channels are padded by the model instead, and stay padded from one
layer to the next. Parameters and statistics keep their shapes: layers pad what they compute with.
A padded channel is zero, and so is its gradient.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array

_MULTIPLE = 8
_PLATFORMS = ("gpu",)

# A number of channels, or the numbers of several arrays side by side.
Channels = int | Sequence[int]

_outputs_padded: ContextVar[bool] = ContextVar("outputs_padded", default=False)


def pad_channels(model: nnx.Module, platform: str) -> None:
    """Sets, in place, whether networks that can pad their channels do.

    They do in bfloat16 on a GPU.

    Args:
        model: from `create_model`.
        platform: that it will run on, as devices name it.
    """
    module: Any
    for _, module in nnx.iter_modules(model):
        if hasattr(module, "pads_channels"):
            narrow = jnp.finfo(module.dtype).bits < 32
            module.pads_channels = narrow and platform in _PLATFORMS


@contextmanager
def outputs_padded(are: bool) -> Iterator[None]:
    """Within it, convolutions pad their output channels or do not."""
    token = _outputs_padded.set(are)
    try:
        yield
    finally:
        _outputs_padded.reset(token)


def are_outputs_padded() -> bool:
    """Whether a convolution that is applied now pads its output channels."""
    return _outputs_padded.get()


def segments_of(channels: Channels) -> tuple[int, ...]:
    """The channels of each array."""
    return (channels,) if isinstance(channels, int) else tuple(channels)


def pad_axis(x: Array, axis: int, segments: Sequence[int] = ()) -> Array:
    """Zeros after each segment of an axis, by default the whole, up to the next multiple of 8."""
    axis %= x.ndim
    parts, start = [], 0
    for size in segments or x.shape[axis : axis + 1]:
        part = lax.slice_in_dim(x, start, start + size, axis=axis)
        parts.append(_pad(part, axis, padded(size) - size))
        start += size
    return parts[0] if len(parts) == 1 else lax.concatenate(parts, axis)


def padded(channels: int) -> int:
    """The next multiple of 8."""
    return channels + -channels % _MULTIPLE


def pad_to(x: Array, channels: int) -> Array:
    """Zeros at the end of the last axis, up to so many channels."""
    return _pad(x, x.ndim - 1, channels - x.shape[-1])


def _pad(x: Array, axis: int, amount: int) -> Array:
    if not amount:
        return x
    amounts = [(0, amount if i == axis else 0, 0) for i in range(x.ndim)]
    return lax.pad(x, jnp.zeros((), x.dtype), amounts)
