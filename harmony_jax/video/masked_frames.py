"""A clip's frames with their masks, and what there is to say of them."""

from collections.abc import Iterator
from pathlib import Path

from harmony_jax.errors import InputError
from harmony_jax.photos.formats import MAX_PIXELS
from harmony_jax.video.folder import FolderClip, FolderFrame
from harmony_jax.video.frames import ClipFrame
from harmony_jax.video.mask_sources import MaskSource
from harmony_jax.video.reading import Clip

AnyFrame = ClipFrame | FolderFrame


class MaskedFrames:
    """The frames of a clip, each with its mask; the shorter one decides where they end.

    Args:
        source: the clip.
        masks: of its frames.
        max_pixels: larger frames are refused.

    Attributes:
        count: how many there were so far.
        masks_ended: whether the masks ended before the clip.
    """

    def __init__(self, source: Clip | FolderClip, masks: MaskSource, max_pixels: int = MAX_PIXELS):
        self._source, self._masks, self._max_pixels = source, masks, max_pixels
        self.count = 0
        self.masks_ended = False
        self._masks_left = False
        self._foreground = self._changed = 0

    def __iter__(self) -> Iterator[AnyFrame]:
        for frame in self._source.frames():
            height, width = frame.size
            if height * width > self._max_pixels:
                raise InputError(
                    f"{self._source.path}: frames of {width} x {height} pixels, of which "
                    f"{self._max_pixels / 1e6:g} million are allowed (--max-megapixels)"
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
            self._foreground += bool(mask.any())
            yield frame
        self._masks_left = not self._masks.ended()

    def changed(self) -> None:
        """One more frame has a transform."""
        self._changed += 1

    def check(self) -> None:
        """Raises InputError unless something could be harmonized."""
        label = self._masks.path or self._source.path
        if not self.count:
            raise InputError(f"{label}: there is no frame in it: replace it")
        if not self._foreground:
            raise InputError(
                f"{label}: the mask has no foreground in any of {self.count} frames: "
                "foreground is white"
            )
        if not self._changed:
            raise InputError(
                f"{label}: the network can see foreground and background in none of {self.count} "
                "frames: the foreground is too small, or there is no background"
            )

    def remarks(self, output: Path | str) -> list[str]:
        """What was not as expected, a line each; `output` is what was written."""
        source, masks, count, found = self._source, self._masks.path, self.count, []
        if self.masks_ended:
            found.append(
                f"{masks}: ends after {count} frames, before {source.path} does: so does {output}"
            )
        elif self._masks_left:
            found.append(
                f"{masks}: has more frames than {source.path}, which has {count}: they are left out"
            )
        if not self.masks_ended and source.ends_early():
            found.append(
                f"{source.path}: ends early, after {count} frames of {source.count}: what was "
                f"there is in {output}"
            )
        unchanged = self._foreground - self._changed
        if unchanged:
            found.append(
                f"{source.path}: {unchanged} frames stay as they are: the network cannot see "
                "foreground and background"
            )
        return found
