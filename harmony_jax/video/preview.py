"""Some frames of a clip before and after, to look at before the whole clip is harmonized."""

from contextlib import closing
from pathlib import Path

import numpy as np

from harmony_jax.photos.formats import to_uint8
from harmony_jax.photos.harmonizer import Harmonizer
from harmony_jax.photos.steady import Steadiness
from harmony_jax.video.mask_sources import MaskSource
from harmony_jax.video.masked_frames import MaskedFrames
from harmony_jax.video.reading import Clip


def preview(
    harmonizer: Harmonizer, clip: Path, mask: Path | None, most: int, max_pixels: int
) -> tuple[list[tuple[int, np.ndarray, np.ndarray]], int, list[str]]:
    """Harmonizes a few frames of a file of video, from its beginning to its end.

    Args:
        harmonizer: does the work.
        clip: a file of video.
        mask: a file of video, a picture for all frames, or None: alpha.
        most: frames, 8 or fewer.
        max_pixels: larger frames are refused.

    Returns:
        Each frame's number, from 0, with its pixels before and after, uint8 RGB, upright; how many
        frames the clip has in all; and what there is to say about it. A frame is harmonized by
        itself, without those around it.
    """
    with closing(Clip(clip)) as source, closing(MaskSource(mask)) as masks:
        frames = MaskedFrames(source, masks, max_pixels)
        # Keeps at most twice as many frames as are shown; the clip may not state its length.
        chosen, step = [], 1
        for number, frame in enumerate(frames):
            source.passed_on.clear()
            if number % step or frame.mask is None or not frame.mask.any():
                continue
            chosen.append((number, frame))
            if len(chosen) == 2 * most:
                chosen, step = chosen[::2], 2 * step
        picked = chosen[:: max(1, -(-len(chosen) // most))]
        shown = []
        transforms = harmonizer.transforms((frame for _, frame in picked), Steadiness(0.0))
        for (number, _), (frame, transform) in zip(picked, transforms, strict=True):
            before = to_uint8(frame.rgb())
            if transform is not None:
                frames.changed += 1
                frame.recolor(transform, 1.0)
            shown.append((number, before, to_uint8(frame.rgb())))
        frames.check()
        # Frames that are not shown were not harmonized, which is no remark.
        remarks = [text for text in frames.remarks("the output") if "stay as they are" not in text]
        return shown, frames.count, remarks
