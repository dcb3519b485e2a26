"""Harmonizes a clip: from file to file, or folders of frames, in constant memory."""

import logging
import os
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from harmony_jax.ahead import Ahead
from harmony_jax.devices.host_cores import usable_cores
from harmony_jax.disk import check_writable
from harmony_jax.errors import InputError
from harmony_jax.photos.formats import MAX_PIXELS
from harmony_jax.photos.harmonizer import Harmonizer
from harmony_jax.photos.steady import Steadiness, Transform, check_steadiness
from harmony_jax.video.files import CONTAINERS
from harmony_jax.video.folder import FolderClip
from harmony_jax.video.mask_sources import MaskOptions, MaskSource
from harmony_jax.video.masked_frames import AnyFrame, MaskedFrames
from harmony_jax.video.pipeline import mapped
from harmony_jax.video.reading import Clip
from harmony_jax.video.writing import WriteOptions, clip_writer, folder_writer

_LOGGER = logging.getLogger(__name__)

_AHEAD = 4  # frames that wait between two stages
_DEFAULT_RATE = Fraction(25)  # of folders, that do not tell

Model = Harmonizer | str | os.PathLike[str] | None


class VideoSettings(NamedTuple):
    """How a clip is harmonized and written.

    Attributes:
        strength: how much of the change to make, from 0 to 1.
        steadiness: how the change is averaged over time.
        masks: how masks are read.
        write: codec and quality.
        rate: frames a second of a folder; None: 25.
        ending: of pictures written into a folder, such as .png; None: as they were, or .png.
        overwrite: whether an output that is there already is replaced.
        max_pixels: clips of larger frames are refused.
    """

    strength: float = 1.0
    steadiness: Steadiness = Steadiness()
    masks: MaskOptions = MaskOptions()
    write: WriteOptions = WriteOptions()
    rate: Fraction | None = None
    ending: str | None = None
    overwrite: bool = False
    max_pixels: int = MAX_PIXELS


_DEFAULTS = VideoSettings()


def harmonize_clip(
    model: Model,
    clip: Path,
    mask: Path | None,
    output: Path,
    settings: VideoSettings = _DEFAULTS,
) -> Path:
    """Harmonizes a clip.

    Args:
        model: a harmonizer, or what `Harmonizer.from_checkpoint` takes.
        clip: a file of video, or a folder of frames.
        mask: a file of video, a folder of frames, a picture for all frames, or None: alpha.
        output: a file whose ending is in `CONTAINERS`, or a folder for pictures.
        settings: all else.

    Returns:
        What was written.

    Raises:
        InputError: an input is missing or cannot be used, or the output cannot be written; it is
            not there then.
    """
    try:
        return _harmonize_clip(model, clip, mask, output, settings)
    except OSError as error:
        place = error.filename or output
        raise InputError(f"{place}: cannot be used ({error.strerror}): choose another") from error


def _harmonize_clip(
    model: Model,
    clip: Path,
    mask: Path | None,
    output: Path,
    settings: VideoSettings,
) -> Path:
    check_steadiness(settings.steadiness)
    for path in (clip, mask):
        if path is not None and not path.exists():
            raise InputError(f"{path}: no such file or folder: check the path")
    output = _output(clip, mask, output, settings)
    check_writable(output.parent)
    rate = settings.rate or _DEFAULT_RATE
    source = FolderClip(clip, rate) if clip.is_dir() else Clip(clip)
    with closing(source), closing(MaskSource(mask, settings.masks)) as masks:
        frames = MaskedFrames(source, masks, settings.max_pixels)
        with (
            clip_writer(output, source, settings.write)
            if _is_file(output)
            else folder_writer(output, settings.ending, source)
        ) as writer:
            harmonizer = (
                model if isinstance(model, Harmonizer) else Harmonizer.from_checkpoint(model)
            )
            harmonized = _harmonized(harmonizer, frames, settings)
            with closing(harmonized), closing(_progress(harmonized, source)) as shown:
                for frame in shown:
                    writer.write(frame)
            frames.check()
            writer.finish(is_cut=frames.masks_ended)
    for remark in frames.remarks(output):
        _LOGGER.warning("%s", remark)
    return output


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
        raise InputError(f"{output}: is there already: choose another, or pass --overwrite")
    if not _is_file(output):
        for name, value in (("codec", settings.write.codec), ("quality", settings.write.quality)):
            if value is not None:
                raise InputError(f"--{name} goes with a file of video, and {output} is a folder")
    elif settings.ending is not None:
        raise InputError(f"--format {settings.ending[1:]} goes with a folder: {output} is a file")
    return output


def _is_file(output: Path) -> bool:
    return output.suffix.lower() in CONTAINERS and not output.is_dir()


def _harmonized(
    harmonizer: Harmonizer, frames: MaskedFrames, settings: VideoSettings
) -> Generator[AnyFrame, None, None]:
    """Frames in order, harmonized; each stage in threads of its own."""

    def paint(item: tuple[AnyFrame, Transform | None]) -> AnyFrame:
        frame, coefficients = item
        if coefficients is not None:
            frame.recolor(coefficients, settings.strength)
        return frame

    def followed() -> Iterator[tuple[AnyFrame, Transform | None]]:
        for frame, coefficients in harmonizer.transforms(read, settings.steadiness):
            if coefficients is not None:
                frames.changed()
            yield frame, coefficients

    workers = max(2, usable_cores())
    read = Ahead(frames, _AHEAD)
    with closing(read), ThreadPoolExecutor(workers) as executor:
        done = Ahead(mapped(paint, followed(), executor, workers + 1), _AHEAD)
        with closing(done):
            yield from done


def _progress(
    frames: Iterator[AnyFrame], source: Clip | FolderClip
) -> Generator[AnyFrame, None, None]:
    with (
        logging_redirect_tqdm([logging.getLogger("harmony_jax")]),
        tqdm(total=source.count, unit="frame", disable=None) as bar,
    ):
        for frame in frames:
            yield frame
            bar.update()
