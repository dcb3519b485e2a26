"""Photos and masks as callers pass them (NumPy, JAX or PIL), checked and converted."""

import math
import warnings
from typing import Any, SupportsFloat

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from harmony_jax.errors import InputError
from harmony_jax.photos.decoding import picture_of
from harmony_jax.photos.masks import PixelMask, mask_of
from harmony_jax.photos.options import MAX_STRENGTH
from harmony_jax.photos.picture import Picture, to_uint8

Photo = np.ndarray | jax.Array | Image.Image | Picture


def as_picture(image: Photo) -> Picture:
    """A photo as `Harmonizer.harmonize` takes one; arrays are in sRGB."""
    if isinstance(image, Picture):
        return image
    if isinstance(image, Image.Image):
        return picture_of(image)
    pixels = np.asarray(image)
    right_type = pixels.dtype in (np.uint8, np.uint16)
    if not right_type or pixels.ndim != 3 or pixels.shape[2] not in (3, 4):
        raise InputError(
            f"image {pixels.dtype} {pixels.shape}: expected uint8 or uint16 [height, width, 3] "
            "RGB, or with alpha [height, width, 4]"
        )
    alpha = pixels[:, :, 3] if pixels.shape[2] == 4 else None
    return Picture(np.ascontiguousarray(pixels[:, :, :3]), alpha)


def as_mask(mask: Photo) -> PixelMask:
    """A mask: numbers [height, width] as they are, or what a picture shows (see `mask_of`)."""
    if not isinstance(mask, (Image.Image, Picture)):
        values = np.asarray(mask)
        if values.ndim == 3 and values.shape[2] == 1:
            values = values[:, :, 0]
        if not values.size or not (
            values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (3, 4))
        ):
            raise InputError(f"mask {values.dtype} {values.shape}: expected [height, width]")
        if values.ndim == 2 or values.dtype != np.uint16:
            values = _as_bytes(values)
        if values.ndim == 2:
            return np.ascontiguousarray(values)
        mask = values
    found, remark = mask_of(as_picture(mask))
    if remark:
        warnings.warn(f"mask: {remark}", stacklevel=5)
    return found


def listed(image: Any, mask: Any) -> tuple[list[Photo], list[Photo | None], bool]:
    """Photos and masks as lists, and whether a single photo was passed."""
    several_masks = _are_several(mask, 3)
    if not _are_several(image, 4):
        if isinstance(mask, (list, tuple)) and several_masks:
            raise InputError(f"one image and a list of {len(mask)} masks: pass its mask alone")
        return [image], [mask], True
    images = list(image)
    if mask is None:
        return images, [None] * len(images), False
    if not several_masks:
        raise InputError(f"{len(images)} images and one mask: pass a list of as many masks")
    return images, list(mask), False


def _are_several(value: Any, dimensions: int) -> bool:
    """Whether it is a list, or an array with a batch dimension."""
    if isinstance(value, Picture):  # which is a tuple
        return False
    return isinstance(value, (list, tuple)) or getattr(value, "ndim", 0) >= dimensions


def checked_strength(strength: object) -> float:
    """How much of the change to make; raises InputError unless it is a number from 0 to 2."""
    try:
        number = float(strength) if isinstance(strength, SupportsFloat) else math.nan
    except (TypeError, ValueError):  # an array of several
        number = math.nan
    if not 0 <= number <= MAX_STRENGTH:
        raise InputError(f"strength {strength!r}: expected a number from 0 to {MAX_STRENGTH:g}")
    return number


def _as_bytes(values: np.ndarray) -> np.ndarray:
    """A mask's values as uint8, of the same shape."""
    if values.dtype in (np.uint8, np.uint16):
        return to_uint8(values)
    if values.dtype == bool:
        return values.astype(np.uint8) * 255
    if jnp.issubdtype(values.dtype, jnp.floating):
        low, high = float(values.min()), float(values.max())
        if low >= 0 and high <= 1:
            return np.rint(values.astype(np.float32) * 255).astype(np.uint8)
        raise InputError(f"mask {values.dtype} from {low:g} to {high:g}: expected 0 to 1")
    raise InputError(
        f"mask {values.dtype}: expected uint8, uint16, bool, or floating point in [0, 1]"
    )
