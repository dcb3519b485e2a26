"""Harmonizes a clip: from file to file, or folders of frames, in constant memory."""

import logging
import os
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from harmony_jax.ahead import Ahead
from harmony_jax.devices.host_cores import usable_cores
from harmony_jax.disk import check_writable
from harmony_jax.errors import InputError
from harmony_jax.photos.arguments import checked_strength
from harmony_jax.photos.harmonizer import Harmonizer
from harmony_jax.photos.masks import MaskValue
from harmony_jax.photos.picture import MAX_PIXELS, to_uint8
from harmony_jax.photos.steady import Steadiness, Transform, check_steadiness
from harmony_jax.video.files import CONTAINERS
from harmony_jax.video.frames import AnyFrame
from harmony_jax.video.mask_sources import Invert, MaskedFrames, MaskSource
from harmony_jax.video.reading import Clip, FolderClip
from harmony_jax.video.writing import ClipWriter, FolderWriter, clip_writer, folder_writer

_LOGGER = logging.getLogger(__name__)

_AHEAD = 4  # frames that wait between two stages
_DEFAULT_RATE = Fraction(25)  # for folders


class VideoSettings(NamedTuple):
    """How a clip is harmonized and written.

    Attributes:
        strength: how much of the change to make, from 0 to 2.
        invert_masks: `always` if masks are black on the foreground; `auto` if the border of the
            first mask with foreground decides it.
        mask_values: values of masks that are foreground; none: bright is foreground.
        codec: a codec's name, or None: the clip's own if it can be written.
        quality: of a lossy codec, 1 to 100; or None.
        rate: frames a second of a folder; None: 25.
        ending: of pictures written into a folder, such as .png; None: as they were, or .png.
        max_pixels: clips with larger frames are refused.
    """

    strength: float = 1.0
    steadiness: Steadiness = Steadiness()
    invert_masks: Invert = "never"
    mask_values: tuple[MaskValue, ...] = ()
    codec: str | None = None
    quality: int | None = None
    rate: Fraction | None = None
    ending: str | None = None
    overwrite: bool = False
    max_pixels: int = MAX_PIXELS


_DEFAULTS = VideoSettings()


def harmonize_clip(
    model: Harmonizer | str | os.PathLike[str] | None,
    clip: Path,
    mask: Path | None,
    output: Path,
    settings: VideoSettings = _DEFAULTS,
) -> Path:
    """Harmonizes a clip, and returns the path that was written.

    Args:
        model: a harmonizer, or what `Harmonizer.from_checkpoint` takes.
        clip: a file of video, or a folder of frames.
        mask: a file of video, a folder of frames, a picture for all frames, or None: alpha.
        output: a file whose ending is in `CONTAINERS`, or a folder for pictures.
        settings: all else.
    """
    checked_strength(settings.strength)
    check_steadiness(settings.steadiness)
    try:
        for path in (clip, mask):
            if path is not None and not path.exists():
                raise InputError(f"{path}: no such file or folder: check the path")
        output = _output(clip, mask, output, settings)
        check_writable(output.parent)
        source = FolderClip(clip, settings.rate or _DEFAULT_RATE) if clip.is_dir() else Clip(clip)
        inverted, values = settings.invert_masks, settings.mask_values
        with closing(source), closing(MaskSource(mask, inverted, values)) as masks:
            frames = MaskedFrames(source, masks, settings.max_pixels)
            with (
                clip_writer(output, source, settings.codec, settings.quality)
                if _is_file(output)
                else folder_writer(output, settings.ending, source)
            ) as writer:
                if not isinstance(model, Harmonizer):
                    model = Harmonizer.from_checkpoint(model)
                _write(_harmonized(model, frames, settings), writer, source.count)
                frames.check()
                writer.finish(is_cut=frames.masks_ended)
    except OSError as error:
        place = error.filename or output
        raise InputError(f"{place}: cannot be used ({error.strerror}): choose another") from error
    for remark in frames.remarks(output):
        _LOGGER.warning("%s", remark)
    return output


def _write(
    harmonized: Generator[AnyFrame, None, None],
    writer: ClipWriter | FolderWriter,
    count: int | None,
) -> None:
    with (
        closing(harmonized),
        logging_redirect_tqdm([logging.getLogger("harmony_jax")]),
        tqdm(total=count, unit="frame", disable=None) as bar,
    ):
        for frame in harmonized:
            writer.write(frame)
            bar.update()


def _output(clip: Path, mask: Path | None, output: Path, settings: VideoSettings) -> Path:
    """Where the result goes; raises InputError unless it can."""
    if clip.is_file() and output.is_dir() and settings.ending is None:
        ending = clip.suffix if clip.suffix.lower() in CONTAINERS else ".mp4"
        output = output / clip.with_suffix(ending).name
    if output.suffix and not output.is_dir() and not _is_file(output):
        raise InputError(
            f"{output}: the ending {output.suffix!r} is not written: use "
            f"{', '.join(CONTAINERS)}, or a folder for pictures"
        )
    for kind, path in (("clip", clip), ("mask", mask)):
        if path is not None and output.exists() and output.samefile(path):
            raise InputError(f"{output}: is the {kind} itself: choose another output")
    if not settings.overwrite and output.exists() and (output.is_file() or any(output.iterdir())):
        raise InputError(f"{output}: exists already: choose another, or ask to overwrite")
    if not _is_file(output):
        for name, value in (("codec", settings.codec), ("quality", settings.quality)):
            if value is not None:
                raise InputError(f"{output}: is a folder: leave the {name} {value} out")
    elif settings.ending is not None:
        raise InputError(f"{output}: is a clip: leave the format {settings.ending[1:]} out")
    return output


def _is_file(output: Path) -> bool:
    return output.suffix.lower() in CONTAINERS and not output.is_dir()


def _harmonized(
    harmonizer: Harmonizer, frames: MaskedFrames, settings: VideoSettings
) -> Generator[AnyFrame, None, None]:
    """Frames in order, harmonized; each stage in threads of its own."""

    def paint(frame: AnyFrame, coefficients: Transform | None) -> AnyFrame:
        if coefficients is not None:
            frame.recolor(coefficients, settings.strength)
        return frame

    def painted() -> Iterator[AnyFrame]:
        waiting: deque[Future[AnyFrame]] = deque()
        for frame, coefficients in harmonizer.transforms(read, settings.steadiness):
            frames.changed += coefficients is not None
            waiting.append(executor.submit(paint, frame, coefficients))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    workers = max(2, usable_cores())
    read = Ahead(frames, _AHEAD)
    with closing(read), ThreadPoolExecutor(workers) as executor:
        done = Ahead(painted(), _AHEAD)
        with closing(done):
            yield from done


def preview(
    harmonizer: Harmonizer, clip: Path, mask: Path | None, most: int, max_pixels: int
) -> tuple[list[tuple[int, np.ndarray, np.ndarray]], int, list[str]]:
    """Harmonizes `most` frames of a file of video or fewer, each by itself.

    Returns:
        Each frame's number, from 0, with its pixels before and after, uint8 RGB, upright; how many
        frames the clip has in all; and what there is to say about it.
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
