"""Photos and masks as callers have them, NumPy, JAX or PIL, to checked pixels."""

import math
import warnings
from typing import Any, NamedTuple, SupportsFloat

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from harmony_jax.errors import InputError
from harmony_jax.photos.formats import Picture, picture_of, to_uint8
from harmony_jax.photos.masks import (
    PixelMask,
    alpha_mask,
    check_mask,
    cut_out,
    fill_hidden,
    fit_size,
    mask_of,
)

Photo = np.ndarray | jax.Array | Image.Image | Picture


class Pair(NamedTuple):
    """A photo and its mask, checked, of one size.

    Attributes:
        pixels: uint8 or uint16 [height, width, 3] RGB.
        seen: what the network is shown of them, of the same kind: colours that transparency hides
            are filled from those around.
        mask: uint8 [height, width].
    """

    pixels: np.ndarray
    seen: np.ndarray
    mask: PixelMask


def photo_and_mask(image: Photo, mask: Photo | None, check: bool = True) -> Pair:
    """A photo and its mask.

    Args:
        image: as `Harmonizer.harmonize` takes one, or as it was read from a file.
        mask: likewise; of another size it is resized with a warning.
        check: whether there have to be foreground and background.

    Raises:
        InputError: a shape or type does not fit, there is no mask, or it has no foreground or no
            background.
    """
    photo = as_picture(image)
    height, width, _ = photo.pixels.shape
    if not height * width:
        raise InputError(f"image of {width} x {height} pixels: expected at least one of each")
    foreground = alpha_mask(photo) if mask is None else _as_mask(mask)
    if foreground.shape != (height, width):
        fitted = fit_size(foreground, height, width)
        warnings.warn(
            f"the mask is {foreground.shape[1]} x {foreground.shape[0]}, the image {width} x "
            f"{height}: the mask is resized",
            stacklevel=4,
        )
        foreground = fitted
    if check:
        check_mask(foreground)
    seen = photo.pixels
    if mask is not None and photo.alpha is not None:
        seen = fill_hidden(seen, photo.alpha)
    return Pair(photo.pixels, seen, foreground)


def cutout_of(image: Photo, mask: Photo | None) -> Picture:
    """A photo cut out by its mask, or by its alpha channel alone; errors as `photo_and_mask`."""
    picture = as_picture(image)
    return picture if mask is None else cut_out(picture, photo_and_mask(picture, mask).mask)


def listed(image: Any, mask: Any) -> tuple[list[Photo], list[Photo | None], bool]:
    """Photos and masks as lists, and whether there is one photo, not a list of one.

    Raises:
        InputError: there are several photos and one mask, or one photo and several masks.
    """
    masks = _several(mask, 3)
    if not _several(image, 4):
        if isinstance(mask, (list, tuple)) and not isinstance(mask, Picture):
            raise InputError(f"one image and a list of {len(mask)} masks: pass its mask alone")
        return [image], [mask], True
    images = list(image)
    if mask is None:
        return images, [None] * len(images), False
    if not masks:
        raise InputError(f"{len(images)} images and one mask: pass a list of as many masks")
    return images, list(mask), False


def _several(value: Any, dimensions: int) -> bool:
    """Whether it is a list, or an array of so many dimensions: several photos or masks."""
    if isinstance(value, Picture):  # a tuple of another kind
        return False
    return isinstance(value, (list, tuple)) or getattr(value, "ndim", 0) >= dimensions


def checked_strength(strength: object) -> float:
    """The share of the change to make; raises InputError unless it is a number from 0 to 1."""
    try:
        number = float(strength) if isinstance(strength, SupportsFloat) else math.nan
    except (TypeError, ValueError):  # an array of several
        number = math.nan
    if not 0 <= number <= 1:
        raise InputError(f"strength {strength!r}: expected a number from 0 to 1")
    return number


def profile_of(image: Photo) -> bytes | None:
    """What a picture says of its colours; None for sRGB, which arrays are taken as."""
    if isinstance(image, Picture):
        return image.icc_profile
    if not isinstance(image, Image.Image) or image.mode == "CMYK":
        return None
    return image.info.get("icc_profile") or None


def as_picture(image: Photo) -> Picture:
    """A photo as it is worked on; raises InputError for shapes and types that do not fit."""
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


def _as_mask(mask: Photo) -> PixelMask:
    if isinstance(mask, (Image.Image, Picture)):
        return _said(as_picture(mask))
    values = np.asarray(mask)
    if values.ndim == 3 and values.shape[2] in (3, 4) and values.size:  # a picture
        if values.dtype not in (np.uint8, np.uint16):
            values = _as_bytes(values)
        return _said(as_picture(values))
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.ndim != 2 or not values.size:
        raise InputError(f"mask {values.dtype} {values.shape}: expected [height, width]")
    return np.ascontiguousarray(_as_bytes(values))


def _said(picture: Picture) -> PixelMask:
    """The mask that a picture shows; what was decided about it is a warning."""
    mask, remark = mask_of(picture)
    if remark:
        warnings.warn(f"mask: {remark}", stacklevel=6)
    return mask


def _as_bytes(values: np.ndarray) -> np.ndarray:
    """Values of a mask as uint8, of the same shape."""
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
