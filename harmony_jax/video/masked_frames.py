"""A clip's frames with their masks, and what there is to say about them."""

from collections.abc import Iterator
from pathlib import Path

from harmony_jax.errors import InputError
from harmony_jax.photos.formats import MAX_PIXELS
from harmony_jax.video.frames import AnyFrame
from harmony_jax.video.mask_sources import MaskSource
from harmony_jax.video.reading import AnyClip


class MaskedFrames:
    """The frames of a clip, each with its mask, until either clip or masks end.

    Args:
        source: the clip.
        masks: of its frames.
        max_pixels: larger frames are refused.

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
