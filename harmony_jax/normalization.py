"""Converts pixels in [0, 255] to what networks take, and back."""

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, Num

from harmony_jax.arrays import Image, Mask

# Of ImageNet, RGB in [0, 1], for all released models and backbones.
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


def normalize(pixels: Num[Array, "*shape 3"]) -> Num[Array, "*shape 3"]:
    """RGB in [0, 255], any type, to float32 with mean 0 and standard deviation 1 on ImageNet."""
    scale = 1 / (255 * jnp.array(IMAGE_STD))
    offset = jnp.array(IMAGE_MEAN) / jnp.array(IMAGE_STD)
    return pixels.astype(jnp.float32) * scale - offset


def denormalize(image: Num[Array, "*shape 3"]) -> Num[Array, "*shape 3"]:
    """Inverse of `normalize`: float32 RGB on the scale of [0, 255], neither clamped nor rounded."""
    return (image.astype(jnp.float32) * jnp.array(IMAGE_STD) + jnp.array(IMAGE_MEAN)) * 255


def network_inputs(
    batch: Mapping[str, Array],
) -> tuple[Image, Mask, Image]:
    """Converts a batch of pixels to what models and losses take, on the device.

    Args:
        batch: `composite` and `real` [batch, height, width, 3] RGB and `mask` [batch, height,
            width], all in [0, 255], usually uint8.

    Returns:
        Composite (normalised), mask in [0, 1], real photo (normalised).
    """
    mask = batch["mask"][..., None].astype(jnp.float32) / 255
    return normalize(batch["composite"]), mask, normalize(batch["real"])
