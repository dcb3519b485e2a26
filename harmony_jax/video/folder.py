"""A folder of pictures as a clip."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from harmony_jax.disk import read_file
from harmony_jax.errors import InputError
from harmony_jax.photos.formats import MAX_PIXELS, Picture, decode_picture
from harmony_jax.photos.masks import PixelMask, alpha_mask
from harmony_jax.photos.picture_frame import PictureFrame
from harmony_jax.photos.recolor import Recolor
from harmony_jax.photos.steady import Small, Transform
from harmony_jax.video.files import pictures_in


class FolderFrame:
    """A picture of a folder.

    Args:
        path: its file.
        picture: what is in it.
        paint: applies color transforms.
    """

    turns = 0  # pictures are upright once they are read

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
        """From here on it is opaque."""
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


class FolderClip:
    """Pictures of a folder, in the order of their names.

    Args:
        path: the folder.
        rate: frames a second, that the folder does not tell.

    Raises:
        InputError: there is no picture in it.
    """

    def __init__(self, path: Path, rate: Fraction):
        self.path, self.rate = path, rate
        self._paths = pictures_in(path)
        self.count = len(self._paths)

    def close(self) -> None:
        """Nothing stays open."""

    def frames(self) -> Iterator[FolderFrame]:
        """The pictures; raises InputError for one that cannot be read, or of another size."""
        paint, size = Recolor(), None
        for path in self._paths:
            picture = decode_picture(read_file(path), str(path), MAX_PIXELS)
            height, width, _ = picture.pixels.shape
            if size is not None and size != (height, width):
                raise InputError(
                    f"{path}: is {width} x {height}, the frames before {size[1]} x {size[0]}: "
                    "frames have one size"
                )
            size = height, width
            yield FolderFrame(path, picture, paint)

    def ends_early(self) -> bool:
        """It cannot."""
        return False
