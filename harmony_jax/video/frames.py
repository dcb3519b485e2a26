"""A frame of a clip and its mask, from a file of video or from a folder of pictures."""

from pathlib import Path
from typing import Any

import numpy as np

from harmony_jax.data.resizing import shrink
from harmony_jax.photos.masks import PixelMask, alpha_mask
from harmony_jax.photos.picture import Picture
from harmony_jax.photos.picture_frame import PictureFrame
from harmony_jax.photos.recolor import Recolor
from harmony_jax.photos.steady import Small, Transform, reach_of
from harmony_jax.video.pixels import alpha_of, brightness_of, planes_of, rgb_of, seen_by_network
from harmony_jax.video.recolor import recolor


class ClipFrame:
    """A decoded frame.

    Args:
        frame: a writable `VideoFrame` in a planar format.

    Attributes:
        turns: quarter turns, counterclockwise, from how it is stored to how it is shown.
        mask: of the stored frame, once it is known.
        is_opaque: whether its alpha channel is left out when it is written.
    """

    def __init__(self, frame: Any):
        self.frame = frame
        self.turns = round(frame.rotation / 90) % 4
        self.mask: PixelMask | None = None
        self.is_opaque = False
        self._planes = planes_of(frame)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width as it is stored."""
        return self._planes.color[0].shape

    def alpha(self) -> PixelMask | None:
        """Its opacity as it is stored, or None."""
        return alpha_of(self._planes)

    def drop_alpha(self) -> None:
        """Makes it opaque."""
        self.is_opaque = True

    def brightness(self) -> PixelMask:
        """Luma as it is stored, from 0 for black to 255 for white."""
        return brightness_of(self._planes)

    def rgb(self) -> np.ndarray:
        """As it is shown: [height, width, 3], uint8 or uint16."""
        return np.rot90(rgb_of(self._planes), self.turns)

    def small(self, size: int) -> Small:
        """What the network sees, upright."""
        assert self.mask is not None
        mask = np.ascontiguousarray(np.rot90(self.mask, self.turns))
        seen = np.rot90(seen_by_network(self._planes, size), self.turns)
        return Small(np.ascontiguousarray(seen), shrink(mask, size), reach_of(mask))

    def recolor(self, coefficients: Transform, strength: float) -> None:
        """Changes its colours inside the mask; the transform is of the upright frame."""
        assert self.mask is not None
        stored = np.rot90(coefficients, -self.turns, axes=(1, 2))
        recolor(self._planes, stored, self.mask, strength, self.frame.interlaced_frame)


class FolderFrame:
    """A picture of a folder."""

    turns = 0  # pictures are turned upright when they are read

    def __init__(self, path: Path, picture: Picture, paint: Recolor):
        self.path, self.picture, self._paint = path, picture, paint
        self.mask: PixelMask | None = None
        self._frame: PictureFrame | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.picture.pixels.shape[:2]

    def alpha(self) -> PixelMask | None:
        """Its opacity, or None."""
        return None if self.picture.alpha is None else alpha_mask(self.picture)

    def drop_alpha(self) -> None:
        """Makes it opaque."""
        self.picture = self.picture._replace(alpha=None)

    def rgb(self) -> np.ndarray:
        """[height, width, 3], uint8 or uint16."""
        return self.picture.pixels

    def small(self, size: int) -> Small:
        """What the network sees."""
        self._frame = PictureFrame(self.picture, self.mask)
        return self._frame.small(size)

    def recolor(self, coefficients: Transform, strength: float) -> None:
        """Changes its colours inside the mask."""
        assert self._frame is not None
        pixels = self._frame.recolored(self._paint, coefficients, strength)
        self.picture = self.picture._replace(pixels=pixels)


AnyFrame = ClipFrame | FolderFrame
