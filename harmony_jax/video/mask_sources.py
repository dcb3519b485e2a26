"""Where the masks of a clip's frames come from: a clip, a folder, one picture, or their alpha."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import cv2
import numpy as np

from harmony_jax.disk import read_file
from harmony_jax.errors import InputError
from harmony_jax.photos.formats import ENDINGS, MAX_PIXELS, Picture, decode_picture
from harmony_jax.photos.masks import MaskValue, PixelMask, looks_inverted, mask_of
from harmony_jax.video.files import pictures_in
from harmony_jax.video.frames import ClipFrame
from harmony_jax.video.library import load
from harmony_jax.video.reading import Clip

# Of lossily compressed masks: levels that are as good as black, or as white.
_NOISE = 8
_WITHOUT_NOISE = np.rint(
    np.clip((np.arange(256) - _NOISE) * (255 / (255 - 2 * _NOISE)), 0, 255)
).astype(np.uint8)

_SAME_ASPECT = 0.01


@runtime_checkable
class HasAlpha(Protocol):
    """A frame, as far as masks are concerned."""

    turns: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width as it is stored."""
        ...

    def alpha(self) -> PixelMask | None:
        """Its opacity, or None."""
        ...


class MaskOptions(NamedTuple):
    """How masks are read.

    Attributes:
        invert: `always` if they are black on the foreground; `auto` if the first one with
            foreground is white along the border.
        values: those that are foreground; none: bright is foreground.
    """

    invert: str = "never"
    values: tuple[MaskValue, ...] = ()


class MaskSource:
    """The masks of a clip's frames, one after the other.

    Args:
        path: a clip, a folder of pictures or a picture; None takes each frame's alpha.
        options: how they are read.

    Raises:
        InputError: there is no such file, or it is none of these.
    """

    def __init__(self, path: Path | None, options: MaskOptions):
        self.path, self._options = path, options
        self._clip: Clip | None = None
        self._masks: Iterator[PixelMask] | None = None
        self._one: PixelMask | None = None
        self._inverted: bool | None = {"always": True, "never": False}.get(options.invert)
        self._number = 0
        if path is None:
            return
        if path.is_dir():
            self._masks = self._of_pictures(pictures_in(path))
        elif path.suffix.lower() in ENDINGS and path.suffix.lower() != ".gif":
            self._one = self._of_picture(path)
        else:
            self._clip = Clip(path)
            self._masks = self._of_clip(self._clip)

    def close(self) -> None:
        """Closes the file."""
        if self._clip is not None:
            self._clip.close()

    def of(self, frame: HasAlpha) -> PixelMask | None:
        """The next frame's mask, of its size, or None: there are no more masks.

        Raises:
            InputError: it has another aspect than the frame, or cannot be read.
        """
        if self.path is None:
            mask = frame.alpha()
            if mask is None:
                raise InputError("no mask, and no alpha channel that could be one: pass a mask")
        elif self._one is not None:
            mask = self._fitted(self._one, frame)
        else:
            assert self._masks is not None
            found = next(self._masks, None)
            if found is None:
                return None
            mask = self._fitted(found, frame)
        if self._inverted is None and mask.any():
            self._inverted = looks_inverted(mask)
        self._number += 1
        return 255 - mask if self._inverted else mask

    def ended(self) -> bool:
        """Whether there is no mask left, once all frames have one."""
        return self._masks is None or next(self._masks, None) is None

    def _fitted(self, mask: PixelMask, frame: HasAlpha) -> PixelMask:
        """An upright mask at the size of a frame, and turned as that is stored."""
        height, width = frame.size[::-1] if frame.turns % 2 else frame.size
        if mask.shape != (height, width):
            own_height, own_width = mask.shape
            if abs(own_width * height / (own_height * width) - 1) > _SAME_ASPECT:
                raise InputError(
                    f"{self.path}: the mask is {own_width} x {own_height}, the clip {width} x "
                    f"{height}, which is another shape: make the masks {width} x {height}"
                )
            smaller = own_width > width
            method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
            mask = cv2.resize(mask, (width, height), interpolation=method)
        return np.ascontiguousarray(np.rot90(mask, -frame.turns))

    def _of_clip(self, clip: Clip) -> Iterator[PixelMask]:
        codec = load().Codec(clip.streams.pictures.codec_context.name, "r")
        is_exact = codec.lossless and not codec.lossy
        for frame in clip.frames(to_change=False):
            clip.passed_on.clear()
            yield self._of_frame(frame, is_exact)

    def _of_frame(self, frame: ClipFrame, is_exact: bool) -> PixelMask:
        if self._options.values:
            return _marked(frame.rgb(), self._options.values)
        alpha = frame.alpha()
        if alpha is not None and alpha.min() < alpha.max():
            return np.ascontiguousarray(np.rot90(alpha, frame.turns))
        mask = frame.brightness()
        if not is_exact:
            mask = cv2.LUT(mask, _WITHOUT_NOISE)
        return np.ascontiguousarray(np.rot90(mask, frame.turns))

    def _of_pictures(self, paths: list[Path]) -> Iterator[PixelMask]:
        return (self._of_picture(path) for path in paths)

    def _of_picture(self, path: Path) -> PixelMask:
        picture: Picture = decode_picture(read_file(path), str(path), MAX_PIXELS)
        if self._options.values:
            return _marked(picture.pixels, self._options.values)
        try:
            return mask_of(picture).mask
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


def _marked(pixels: np.ndarray, values: tuple[MaskValue, ...]) -> PixelMask:
    """255 where a picture has one of the values; a frame need not have any."""
    found = np.zeros(pixels.shape[:2], bool)
    for value in values:
        found |= (pixels == np.array(value)).all(2)
    return found.astype(np.uint8) * 255
