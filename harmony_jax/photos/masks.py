"""Foreground masks as people have them: what is foreground, and whether it can be worked with."""

import cv2
import numpy as np
from jaxtyping import UInt8

from harmony_jax.errors import InputError
from harmony_jax.photos.formats import Picture, to_eight_bits, to_uint8

PixelMask = UInt8[np.ndarray, "_height _width"]  # 255 on the foreground

# The released prediction takes mask values above this as foreground.
FOREGROUND = 100


def mask_of(picture: Picture) -> PixelMask:
    """The mask that a picture shows: its first channel, as iHarmony4's may have three equal ones.

    A picture of one colour shows it in its alpha channel, as drawing programs save a selection.
    """
    picture = to_eight_bits(picture)
    if (
        picture.alpha is not None
        and picture.alpha.min() < picture.alpha.max()
        and (picture.pixels == picture.pixels[0, 0]).all()
    ):
        return picture.alpha
    return np.ascontiguousarray(picture.pixels[:, :, 0])


def alpha_mask(photo: Picture) -> PixelMask:
    """The photo's alpha channel as its mask.

    Raises:
        InputError: it has none.
    """
    if photo.alpha is None:
        raise InputError("no mask, and no alpha channel that could be one: pass a mask")
    return to_uint8(photo.alpha)


def fit_size(mask: PixelMask, height: int, width: int) -> PixelMask:
    """The mask at a photo's size; its edges become soft."""
    shrinks = mask.shape[0] > height or mask.shape[1] > width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(mask, (width, height), interpolation=method)


def looks_inverted(mask: PixelMask) -> bool:
    """Whether more than half of the picture's border would be foreground."""
    border = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    return bool((border > FOREGROUND).mean() > 0.5)


def check_mask(mask: PixelMask) -> None:
    """Raises InputError unless the mask has both foreground and background."""
    height, width = mask.shape
    if height * width < 2:
        raise InputError(f"{width} x {height} pixels: too small for foreground and background")
    if mask.max() <= FOREGROUND:
        hint = ": white is 255" if mask.max() > 0 else ""
        raise InputError(
            f"the mask has no foreground: its largest value is {mask.max()}, foreground is above "
            f"{FOREGROUND}{hint}"
        )
    if mask.min() > FOREGROUND:
        raise InputError(
            f"the mask has no background to fit to: its smallest value is {mask.min()}, background "
            f"is {FOREGROUND} or less"
        )
