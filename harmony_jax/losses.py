"""Training objectives. Each returns one loss an image; the caller averages over the batch."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from harmony_jax.arrays import Image, Mask


def foreground_normalized_mse(
    prediction: Image, target: Image, mask: Mask, *, min_area: float
) -> Float[Array, " batch"]:
    """FN-MSE (paper, equation 2): squared error over the foreground's size, not the image's.

    Args:
        prediction, target: normalised images.
        mask: foreground in [0, 1].
        min_area: the paper's A_min in pixels, which keeps tiny objects from dominating.
    """
    squared_error = jnp.square(prediction - target).sum((1, 2, 3))
    area = jnp.maximum(mask.sum((1, 2, 3)), min_area)
    return squared_error / (prediction.shape[-1] * area)


def mse(prediction: Image, target: Image) -> Float[Array, " batch"]:
    """Mean squared error over all pixels and channels of normalised images."""
    return jnp.square(prediction - target).mean((1, 2, 3))
