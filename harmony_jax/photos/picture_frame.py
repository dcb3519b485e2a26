"""A photo and its mask as the network sees them, and as they take on its change of colour."""

import warnings
from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import Any

import jax
import numpy as np
from PIL import Image

from harmony_jax.data.resizing import shrink
from harmony_jax.errors import InputError
from harmony_jax.photos.arguments import Photo, as_mask, as_picture
from harmony_jax.photos.color import conversion_of
from harmony_jax.photos.masks import alpha_mask, check_mask, fill_hidden, fit_size
from harmony_jax.photos.picture import Picture, to_uint8
from harmony_jax.photos.recolor import Recolor
from harmony_jax.photos.steady import Small, Transform, reach_of


class PictureFrame:
    """A photo and its mask, alone or as one frame of a clip.

    Args:
        image: a photo, as `Harmonizer.harmonize` takes one.
        mask: its mask, or None for its alpha channel; another size is resized with a warning.
        check: whether the mask must have foreground and background; else a photo without foreground
            stays as it is.
    """

    def __init__(self, image: Photo, mask: Photo | None, check: bool = False):
        photo = as_picture(image)
        height, width, _ = photo.pixels.shape
        if not height * width:
            raise InputError(f"image of {width} x {height} pixels: expected at least one of each")
        self.mask = alpha_mask(photo) if mask is None else as_mask(mask)
        if self.mask.shape != (height, width):
            own_height, own_width = self.mask.shape
            self.mask = fit_size(self.mask, height, width)
            warnings.warn(
                f"the mask is {own_width} x {own_height}, the image {width} x {height}: the mask "
                "is resized",
                stacklevel=4,
            )
        if check:
            check_mask(self.mask)
        # In the photo's colours, and in sRGB; and what the network sees: transparency may hide
        # colours, which are filled from those around.
        self._own = self._srgb = self._seen = photo.pixels
        if mask is not None and photo.alpha is not None:
            self._seen = fill_hidden(photo.pixels, photo.alpha)
        self._conversion = conversion_of(photo.icc_profile) if self.mask.any() else None
        if self._conversion is not None:
            self._srgb = self._conversion.to_srgb(self._own, self.mask)
            filled = self._seen is not self._own
            self._seen = self._conversion.to_srgb(self._seen, self.mask) if filled else self._srgb

    @property
    def pixels(self) -> np.ndarray:
        """RGB [height, width, 3], as it came."""
        return self._own

    def small(self, size: int) -> Small:
        """What a network of `size` pixels a side sees."""
        seen = shrink(to_uint8(self._seen), size)
        return Small(seen, shrink(self.mask, size), reach_of(self.mask))

    def recolored(self, recolor: Recolor, coefficients: Transform, strength: float) -> np.ndarray:
        """The photo with its colours changed inside the mask."""
        image = recolor(coefficients, self._srgb, self.mask, strength)
        if self._conversion is None:
            return image
        return self._conversion.carried_back(self._own, self._srgb, image, self.mask)


def frames_of(
    frames: Iterable[Photo], masks: Iterable[Photo] | Photo | None
) -> Iterator[PictureFrame]:
    """Frames with their masks; errors name the frame. The shorter of the two decides."""
    one_for_all = (
        masks is None
        or isinstance(masks, (Image.Image, Picture))
        or (isinstance(masks, (np.ndarray, jax.Array)) and masks.ndim == 2)
    )
    each: Any = repeat(masks) if one_for_all else masks
    for number, (image, mask) in enumerate(zip(frames, each, strict=False)):
        try:
            frame = PictureFrame(image, mask)
        except InputError as error:
            raise InputError(f"frame {number}: {error}") from error
        yield frame
