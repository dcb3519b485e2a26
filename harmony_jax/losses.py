"""Training objectives. Each returns one loss per image; the caller averages over the batch."""

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from harmony_jax.arrays import Image, Mask

LossFunction = Callable[[Array, Array, Array], Array]  # prediction, target, mask to [batch]


def create_loss(loss: ConfigDict) -> LossFunction:
    """The objective that the config's `loss` section names."""
    known: dict[str, LossFunction] = {
        "fn_mse": partial(foreground_normalized_mse, min_area=loss.min_area),
        "mse": lambda prediction, target, mask: mse(prediction, target),
    }
    return known[loss.name]


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
