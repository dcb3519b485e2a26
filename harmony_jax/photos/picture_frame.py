"""Pictures in order of time, as frames of a clip."""

from collections.abc import Iterable, Iterator
from itertools import repeat

import jax
import numpy as np
from PIL import Image

from harmony_jax.data.resizing import shrink
from harmony_jax.errors import InputError
from harmony_jax.photos.arguments import Photo, photo_and_mask, profile_of
from harmony_jax.photos.color import conversion_of
from harmony_jax.photos.formats import Picture, to_uint8
from harmony_jax.photos.recolor import Recolor
from harmony_jax.photos.steady import Small, Transform, reach_of


class PictureFrame:
    """A picture and its mask, one frame of a clip.

    Args:
        image: a photo, as `Harmonizer.harmonize` takes one.
        mask: its mask, or None for its alpha channel; without foreground the frame stays.

    Raises:
        InputError: a shape or type does not fit, or there is no mask.
    """

    def __init__(self, image: Photo, mask: Photo | None):
        self._own, self._seen, self.mask = photo_and_mask(image, mask, check=False)
        self._conversion = conversion_of(profile_of(image))
        self._srgb = self._own
        if self._conversion is not None and self.mask.any():
            self._srgb = self._conversion.to_srgb(self._own, self.mask)
            same = self._seen is self._own
            self._seen = self._srgb if same else self._conversion.to_srgb(self._seen, self.mask)

    @property
    def pixels(self) -> np.ndarray:
        """RGB, as it came."""
        return self._own

    def small(self, size: int) -> Small:
        """What a network of so many pixels a side sees of it."""
        seen = shrink(to_uint8(self._seen), size)
        return Small(seen, shrink(self.mask, size), reach_of(self.mask))

    def recolored(self, recolor: Recolor, coefficients: Transform, strength: float) -> np.ndarray:
        """The picture with its colours changed inside the mask."""
        image = recolor(coefficients, self._srgb, self.mask, strength)
        if self._conversion is None or not self.mask.any():
            return image
        return self._conversion.carried_back(self._own, self._srgb, image, self.mask)


def frames_of(
    frames: Iterable[Photo], masks: Iterable[Photo] | Photo | None
) -> Iterator[PictureFrame]:
    """Frames and masks as callers have them; errors name the frame."""
    for number, (image, mask) in enumerate(_paired(frames, masks)):
        try:
            frame = PictureFrame(image, mask)
        except InputError as error:
            raise InputError(f"frame {number}: {error}") from error
        yield frame


def _paired(
    frames: Iterable[Photo], masks: Iterable[Photo] | Photo | None
) -> Iterator[tuple[Photo, Photo | None]]:
    if masks is None or isinstance(masks, (Image.Image, Picture)):
        return zip(frames, repeat(masks))
    if isinstance(masks, (np.ndarray, jax.Array)) and masks.ndim == 2:
        return zip(frames, repeat(masks))
    return zip(frames, masks, strict=False)  # the shorter one decides
