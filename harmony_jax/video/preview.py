"""Some frames of a clip before and after, to look at before the whole clip is harmonized."""

from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harmony_jax.photos.harmonizer import Harmonizer
from harmony_jax.photos.picture import to_uint8
from harmony_jax.photos.steady import Steadiness
from harmony_jax.video.mask_sources import MaskOptions, MaskSource
from harmony_jax.video.masked_frames import AnyFrame, MaskedFrames
from harmony_jax.video.reading import Clip


class ShownFrame(NamedTuple):
    """A frame to look at: uint8 RGB, upright, before and after.

    Attributes:
        number: of the frame, from 0.
        before: as it came.
        after: harmonized by itself, without the frames around it.
    """

    number: int
    before: np.ndarray
    after: np.ndarray


class Preview(NamedTuple):
    """Some frames of a clip, how many it has in all, and what there is to say of it."""

    frames: list[ShownFrame]
    total: int
    remarks: list[str]


def preview(
    harmonizer: Harmonizer, clip: Path, mask: Path | None, most: int, max_pixels: int
) -> Preview:
    """Harmonizes a few frames of a file of video, from its beginning to its end.

    Args:
        harmonizer: does the work.
        clip: a file of video.
        mask: a file of video, a picture for all frames, or None: alpha.
        most: frames, 8 or fewer.
        max_pixels: larger frames are refused.

    Raises:
        InputError: as `harmonize_clip`.
    """
    with closing(Clip(clip)) as source, closing(MaskSource(mask, MaskOptions())) as masks:
        frames = MaskedFrames(source, masks, max_pixels)
        chosen: list[tuple[int, AnyFrame]] = []
        # Twice as many as are shown, of a clip of any length, that may not tell it.
        step = 1
        for frame in frames:
            source.passed_on.clear()
            number = frames.count - 1
            if number % step or frame.mask is None or not frame.mask.any():
                continue
            chosen.append((number, frame))
            if len(chosen) == 2 * most:
                chosen, step = chosen[::2], 2 * step
        picked = chosen[:: -(-len(chosen) // most)] if chosen else []
        shown = []
        transforms = harmonizer.transforms((frame for _, frame in picked), Steadiness(0.0))
        for (number, _), (frame, transform) in zip(picked, transforms, strict=True):
            before = to_uint8(frame.rgb())
            if transform is not None:
                frames.changed()
                frame.recolor(transform, 1.0)
            shown.append(ShownFrame(number, before, to_uint8(frame.rgb())))
        frames.check()
        # Of frames that are not shown nothing is known.
        remarks = [text for text in frames.remarks("the output") if "stay as they are" not in text]
        return Preview(shown, frames.count, remarks)
