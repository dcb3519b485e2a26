"""The masks of a clip's frames: from a clip, a folder, one picture, or their alpha."""

from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from harmony_jax.disk import read_file
from harmony_jax.errors import InputError
from harmony_jax.photos.decoding import decode_picture
from harmony_jax.photos.kinds import ENDINGS
from harmony_jax.photos.masks import MaskValue, PixelMask, fit_size, looks_inverted, mask_of
from harmony_jax.photos.picture import MAX_PIXELS
from harmony_jax.video.files import pictures_in
from harmony_jax.video.frames import AnyFrame
from harmony_jax.video.library import av
from harmony_jax.video.reading import AnyClip, Clip

# In masks of lossy codecs, levels that are as good as black, or as white.
_NOISE = 8
_WITHOUT_NOISE = np.rint(
    np.clip((np.arange(256) - _NOISE) * (255 / (255 - 2 * _NOISE)), 0, 255)
).astype(np.uint8)

_SAME_ASPECT = 0.01

Invert = Literal["never", "always", "auto"]


class MaskSource:
    """The masks of a clip's frames, one after the other.

    Args:
        path: a clip, a folder of pictures or a picture; None takes each frame's alpha.
        invert, values: see `VideoSettings`.
    """

    def __init__(
        self, path: Path | None, invert: Invert = "never", values: tuple[MaskValue, ...] = ()
    ):
        self.path, self._values = path, values
        self._clip: Clip | None = None
        self._masks: Iterator[PixelMask] = iter(())
        self._inverted: bool | None = {"always": True, "never": False}.get(invert)
        self._endless = path is None
        if path is None:
            return
        if path.is_dir():
            self._masks = map(self._of_picture, pictures_in(path))
        elif path.suffix.lower() in ENDINGS and path.suffix.lower() != ".gif":
            self._endless = True
            self._masks = repeat(self._of_picture(path))
        else:
            self._clip = Clip(path)
            self._masks = self._of_clip(self._clip)

    def close(self) -> None:
        """Closes the file."""
        if self._clip is not None:
            self._clip.close()

    def of(self, frame: AnyFrame) -> PixelMask | None:
        """The next frame's mask, of its size, or None if there are no more masks."""
        if self.path is None:
            mask = frame.alpha()
            if mask is None:
                raise InputError("no mask, and no alpha channel that could be one: pass a mask")
        else:
            found = next(self._masks, None)
            if found is None:
                return None
            mask = self._fitted(found, frame)
        if self._inverted is None and mask.any():
            self._inverted = looks_inverted(mask)
        return 255 - mask if self._inverted else mask

    def ended(self) -> bool:
        """Whether no mask is left, once all frames have one."""
        return self._endless or next(self._masks, None) is None

    def _fitted(self, mask: PixelMask, frame: AnyFrame) -> PixelMask:
        """An upright mask at the size of a frame, and turned as that is stored."""
        height, width = frame.size[::-1] if frame.turns % 2 else frame.size
        own_height, own_width = mask.shape
        if abs(own_width * height / (own_height * width) - 1) > _SAME_ASPECT:
            raise InputError(
                f"{self.path}: the mask is {own_width} x {own_height}, the clip {width} x "
                f"{height}, which is another shape: make the masks {width} x {height}"
            )
        return np.ascontiguousarray(np.rot90(fit_size(mask, height, width), -frame.turns))

    def _of_clip(self, clip: Clip) -> Iterator[PixelMask]:
        codec = av.Codec(clip.pictures.codec_context.name, "r")
        is_exact = codec.lossless and not codec.lossy
        for frame in clip.frames(to_change=False):
            clip.passed_on.clear()
            if self._values:
                yield _marked(frame.rgb(), self._values)
            else:
                mask = frame.alpha()
                if mask is None or mask.min() == mask.max():
                    mask = frame.brightness()
                    mask = mask if is_exact else cv2.LUT(mask, _WITHOUT_NOISE)
                yield np.ascontiguousarray(np.rot90(mask, frame.turns))

    def _of_picture(self, path: Path) -> PixelMask:
        picture = decode_picture(read_file(path), str(path), MAX_PIXELS, is_mask=True)
        if self._values:
            return _marked(picture.pixels, self._values)
        try:
            return mask_of(picture).mask
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


class MaskedFrames:
    """The frames of a clip, each with its mask, until either clip or masks end.

    Attributes:
        count: how many frames there were so far.
        changed: how many of them have a transform, which the caller counts.
        masks_ended: whether the masks ended before the clip.
    """

    def __init__(self, source: AnyClip, masks: MaskSource, max_pixels: int = MAX_PIXELS):
        self._source, self._masks, self._max_pixels = source, masks, max_pixels
        self.count = self.changed = 0
        self.masks_ended = False
        self._masks_left = False
        self._with_foreground = 0

    def __iter__(self) -> Iterator[AnyFrame]:
        for frame in self._source.frames():
            height, width = frame.size
            if height * width > self._max_pixels:
                raise InputError(
                    f"{self._source.path}: frames of {width} x {height} pixels: "
                    f"at most {self._max_pixels / 1e6:g} megapixels are allowed"
                )
            try:
                mask = self._masks.of(frame)
            except InputError as error:
                name = str(self._masks.path or self._source.path)
                text = str(error) if name in str(error) else f"{name}: {error}"
                raise InputError(text) from error
            if mask is None:
                self.masks_ended = True
                return
            if self._masks.path is None:
                frame.drop_alpha()
            frame.mask = mask
            self.count += 1
            self._with_foreground += bool(mask.any())
            yield frame
        self._masks_left = not self._masks.ended()

    def check(self) -> None:
        """Raises InputError unless something could be harmonized."""
        label = self._masks.path or self._source.path
        if not self.count:
            raise InputError(f"{label}: there is no frame in it: replace it")
        if not self._with_foreground:
            raise InputError(
                f"{label}: the mask has no foreground in any of {self.count} frames: "
                "foreground is white"
            )
        if not self.changed:
            raise InputError(
                f"{label}: the network can see foreground and background in none of {self.count} "
                "frames: the foreground is too small, or there is no background"
            )

    def remarks(self, output: Path | str) -> list[str]:
        """What was not as expected, a line each; `output` names what was written."""
        clip, masks, count = self._source.path, self._masks.path, self.count
        found = []
        if self.masks_ended:
            found.append(f"{masks}: ends after {count} frames, before {clip}: so does {output}")
        elif self._masks_left:
            found.append(f"{masks}: has more frames than {clip}, which has {count}")
        if not self.masks_ended and self._source.ends_early():
            found.append(
                f"{clip}: ends early, after {count} frames of {self._source.count}: "
                f"{output} has these"
            )
        if unchanged := self._with_foreground - self.changed:
            found.append(
                f"{clip}: {unchanged} frames stay as they are: the network cannot see "
                "foreground and background"
            )
        return found


def _marked(pixels: np.ndarray, values: tuple[MaskValue, ...]) -> PixelMask:
    """255 where a picture has one of the values; a frame need not have any."""
    found = np.zeros(pixels.shape[:2], bool)
    for value in values:
        found |= (pixels == np.array(value)).all(2)
    return found.astype(np.uint8) * 255
