"""Photos and masks as callers have them, NumPy, JAX or PIL, to checked pixels."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from harmony_jax.errors import InputError
from harmony_jax.photos.formats import Picture, picture_of, to_uint8
from harmony_jax.photos.masks import PixelMask, alpha_mask, check_mask, fit_size, mask_of

Photo = np.ndarray | jax.Array | Image.Image


def photo_and_mask(image: Photo, mask: Photo | None) -> tuple[np.ndarray, PixelMask]:
    """A photo's pixels and its mask, checked, of one size.

    Args:
        image: as `Harmonizer.harmonize` takes one.
        mask: likewise; of another size it is resized with a warning.

    Returns:
        uint8 or uint16 [height, width, 3] RGB, and uint8 [height, width].

    Raises:
        InputError: a shape or type does not fit, there is no mask, or it has no foreground or no
            background.
    """
    photo = _as_picture(image)
    height, width, _ = photo.pixels.shape
    if not height * width:
        raise InputError(f"image of {width} x {height} pixels: expected at least one of each")
    foreground = alpha_mask(photo) if mask is None else _as_mask(mask)
    if foreground.shape != (height, width):
        warnings.warn(
            f"the mask is {foreground.shape[1]} x {foreground.shape[0]}, the image {width} x "
            f"{height}: the mask is resized",
            stacklevel=4,
        )
        foreground = fit_size(foreground, height, width)
    check_mask(foreground)
    return photo.pixels, foreground


def profile_of(image: Photo) -> bytes | None:
    """What a PIL image says of its colours; None for sRGB, which arrays are taken as."""
    if not isinstance(image, Image.Image) or image.mode == "CMYK":
        return None
    return image.info.get("icc_profile") or None


def _as_picture(image: Photo) -> Picture:
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
    if isinstance(mask, Image.Image):
        return mask_of(picture_of(mask))
    values = np.asarray(mask)
    if values.ndim == 3 and values.shape[2] in (1, 3):
        values = values[:, :, 0]
    if values.ndim != 2 or not values.size:
        raise InputError(f"mask {values.dtype} {values.shape}: expected [height, width]")
    if values.dtype in (np.uint8, np.uint16):
        return np.ascontiguousarray(to_uint8(values))
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
