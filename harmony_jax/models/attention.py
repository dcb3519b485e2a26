"""Attention over channels, plain and by foreground: S2AM's and iSEUNet's blocks.

Attribute names follow the released PyTorch modules, so that parameter paths are their keys.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from harmony_jax.models.arithmetic import widen
from harmony_jax.models.convolution import convolve
from harmony_jax.models.convolution_cpu import Geometry
from harmony_jax.models.layers import Buffer, LayerMaker, Linear, Named, Sequential, relu
from harmony_jax.models.resizing import resize

Features = Float[Array, "batch height width features"]
SizedMask = Float[Array, "batch mask_height mask_width 1"]  # of any size

_BLUR_SIZE = 7  # pixels
_BLUR_SIGMA = 1.0  # pixels


class ChannelAttention(nnx.Module):
    """Weighs channels by a function of their means and maxima over the image."""

    def __init__(self, make: LayerMaker, features: int):
        self.attention_transform = _channel_gate(make, 2 * features, features)

    def __call__(self, x: Features) -> Features:
        return self.weighed(x).astype(x.dtype)

    def weighed(self, x: Features) -> Features:
        """The same in float32, before it is rounded to the type of `x`."""
        x = widen(x)
        pooled = jnp.concatenate([x.mean((1, 2)), x.max((1, 2))], -1)
        return x * self.attention_transform(pooled)[:, None, None]


class MaskedChannelAttention(nnx.Module):
    """Weighs channels by a function of their maxima over foreground and background, and means."""

    def __init__(self, make: LayerMaker, features: int):
        self.attention_transform = _channel_gate(make, 3 * features, features)

    def __call__(self, x: Features, mask: SizedMask) -> Features:
        dtype, x = x.dtype, widen(x)
        mask = resize(mask, x.shape[1:3])
        foreground, background = (x * mask).max((1, 2)), (x * (1 - mask)).max((1, 2))
        pooled = jnp.concatenate([foreground, background, x.mean((1, 2))], -1)
        return (x * self.attention_transform(pooled)[:, None, None]).astype(dtype)


class SpatialSeparatedAttention(nnx.Module):
    """S2AM's block: separate channel attention for foreground and background, a blurred border.

    Args:
        features: of input and output.
        width: features between the two convolutions of the foreground, relative to the input's.
    """

    def __init__(self, make: LayerMaker, features: int, width: float):
        self.background_gate = ChannelAttention(make, features)
        self.foreground_gate = ChannelAttention(make, features)
        self.mix_gate = ChannelAttention(make, features)
        middle = int(width * features)
        self.learning_block = Sequential(
            Named("block", make.conv_batchnorm(inputs, outputs, 3))
            for inputs, outputs in ((features, middle), (middle, features))
        )
        self.mask_blurring = GaussianBlur()

    def __call__(self, x: Features, mask: SizedMask) -> Features:
        mask = self.mask_blurring(resize(mask, x.shape[1:3]))
        foreground = self.learning_block(self.foreground_gate(x)) + self.mix_gate.weighed(x)
        background = self.background_gate.weighed(x)
        return (background + mask * (foreground - background)).astype(x.dtype)


class GaussianBlur(nnx.Module):
    """Blurs a mask by a fixed kernel, which is part of the weights.

    The released training scripts overwrite the Gaussian with random numbers, because their
    initializer takes it for a convolution's kernel. Here it stays a Gaussian. Released weights
    bring their own kernel.
    """

    def __init__(self) -> None:
        offset = np.arange(_BLUR_SIZE) - (_BLUR_SIZE - 1) / 2
        line = np.exp(-np.square(offset / _BLUR_SIGMA) / 2)
        kernel = np.outer(line, line) / line.sum() ** 2
        self.kernel = Buffer(jnp.asarray(kernel[:, :, None, None], jnp.float32))

    def __call__(self, mask: SizedMask) -> SizedMask:
        return convolve(mask, self.kernel[...], Geometry(1, _BLUR_SIZE // 2))


def _channel_gate(make: LayerMaker, inputs: int, outputs: int) -> Sequential:
    middle = max(outputs // 16, 8)
    return Sequential(
        [Linear(make, inputs, middle), relu, Linear(make, middle, outputs), jax.nn.sigmoid]
    )
