"""Harmonizes a photo, or a folder of photos, from file to file."""

import logging
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from harmony_jax.devices.host_cores import usable_cores
from harmony_jax.disk import check_writable, read_file
from harmony_jax.errors import InputError
from harmony_jax.photos.decoding import count_pixels, decode_picture
from harmony_jax.photos.encoding import JpegOptions, write_picture
from harmony_jax.photos.harmonizer import Harmonizer
from harmony_jax.photos.jobs import Inputs, Job, job_of_photo, jobs_of_folder
from harmony_jax.photos.kinds import check_ending
from harmony_jax.photos.masks import (
    MaskValue,
    PixelMask,
    alpha_mask,
    check_mask,
    cut_out,
    fit_size,
    looks_inverted,
    mask_of,
)
from harmony_jax.photos.options import expect_any_file
from harmony_jax.photos.pasting import CENTERED, Placement, check_placement, paste
from harmony_jax.photos.picture import MAX_PIXELS, Picture
from harmony_jax.photos.pixel_budget import PixelBudget

_LOGGER = logging.getLogger(__name__)

# Photos that are read, changed and written at the same time.
_WORKERS = min(4, usable_cores())
# Pixels of photos and masks in memory together: four of the largest photos need not fit.
_PIXELS_AT_ONCE = MAX_PIXELS

Invert = Literal["never", "always", "auto"]


class Settings(NamedTuple):
    """How photos are harmonized and written.

    Attributes:
        strength: how much of the change to make, from 0 to 2.
        mirror: see `Harmonizer`.
        invert_masks: `always` if masks are black on the foreground; `auto` inverts those that would
            make most of the picture's border foreground.
        ending: of the outputs, such as .png; None keeps the photo's.
        max_pixels: larger photos are refused.
        mask_values: the values of masks that are foreground; empty: see `mask_of`.
        recursive: whether folders in a folder are searched.
    """

    strength: float = 1.0
    mirror: bool = True
    invert_masks: Invert = "never"
    ending: str | None = None
    overwrite: bool = False
    max_pixels: int = MAX_PIXELS
    mask_values: tuple[MaskValue, ...] = ()
    placement: Placement = CENTERED
    recursive: bool = False
    jpeg: JpegOptions = JpegOptions()


_DEFAULTS = Settings()


class Outcome(NamedTuple):
    """What became of the photos."""

    written: list[Path]
    present: int  # outputs that existed already and were kept
    failures: list[str]  # a line for each photo that failed


def harmonize_files(
    checkpoint: str | os.PathLike[str] | None,
    image: Path,
    mask: Path | None,
    output: Path,
    settings: Settings = _DEFAULTS,
    onto: Path | None = None,
) -> int:
    """Does what `predict` does, and prints the outcome; returns the exit status: 2 for failures."""
    expect_any_file(settings.max_pixels)
    written, present, failures = predict(checkpoint, image, mask, output, settings, onto)
    if len(written) == 1 and not present and not failures:
        print(written[0])
        return 0
    text = f"{len(written)} harmonized"
    text += f", {present} were there already" if present else ""
    text += f", {len(failures)} failed:" if failures else ""
    print(text, *failures, sep="\n  ", file=sys.stderr)
    return 2 if failures else 0


def predict(
    checkpoint: str | os.PathLike[str] | None,
    image: Path,
    mask: Path | None,
    output: Path,
    settings: Settings = _DEFAULTS,
    onto: Path | None = None,
) -> Outcome:
    """Harmonizes one photo, or every photo of a folder; with a background, pastes them first.

    In a folder, photos that fail are left out and listed in the outcome, and existing outputs are
    kept, so the same call continues. The model is loaded once the first photo and its mask have
    been read and checked. docs/harmonize.md says how the files of folders are named.

    Args:
        checkpoint: as `Harmonizer.from_checkpoint` takes it.
        image: a photo, or a folder of photos.
        mask: its mask, or a folder of masks, which may be the photos'; None: the alpha channels.
        output: a file for one photo; or a folder, which keeps the photos' names.
        settings: everything else.
        onto: a background that the photos, cut out by their masks, are pasted on; for a folder of
            photos also a folder of backgrounds.
    """
    check_placement(settings.placement)
    inputs = Inputs(image, mask, output, onto)
    try:
        for path in (image, mask, onto):
            if path is not None and not path.exists():
                raise InputError(f"{path}: no such file or folder: check the path")
        if mask is not None and image.is_dir() != mask.is_dir():
            raise InputError(f"{image} and {mask}: pass two files or two folders")
        if image.is_dir():
            jobs, failures = jobs_of_folder(inputs, settings.ending, settings.recursive)
        else:
            jobs, failures = [job_of_photo(inputs, settings.ending, settings.overwrite)], []
        waiting = [job for job in jobs if settings.overwrite or not job.output.exists()]
        if not waiting:
            return Outcome([], len(jobs), failures)
        check_writable(waiting[0].output.parent)
        model = _Model(checkpoint, settings.mirror)
        if not image.is_dir():
            _run(model, waiting[0], settings, PixelBudget(_PIXELS_AT_ONCE))
            return Outcome([waiting[0].output], 0, [])
        written, more = _run_all(model, waiting, settings)
        return Outcome(written, len(jobs) - len(waiting), failures + more)
    except OSError as error:  # which pathlib raises for folders that may not be searched
        place = error.filename or output
        raise InputError(f"{place}: cannot be used ({error.strerror}): choose another") from error


class _Model:
    """A model that is loaded at its first use; threads share it."""

    def __init__(self, checkpoint: str | os.PathLike[str] | None, mirror: bool):
        self._checkpoint, self._mirror, self._lock = checkpoint, mirror, threading.Lock()
        self._harmonizer: Harmonizer | None = None
        self.error: Exception | None = None  # why no photo can be done

    def get(self) -> Harmonizer:
        with self._lock:
            if self.error is not None:
                raise self.error
            if self._harmonizer is None:
                try:
                    self._harmonizer = Harmonizer.from_checkpoint(self._checkpoint, self._mirror)
                except Exception as error:
                    self.error = error
                    raise
            return self._harmonizer


def _run_all(model: _Model, jobs: list[Job], settings: Settings) -> tuple[list[Path], list[str]]:
    """The outputs written, and a line for each photo that failed, in the jobs' order."""
    failures: dict[Job, str] = {}
    budget = PixelBudget(_PIXELS_AT_ONCE)
    with (
        logging_redirect_tqdm([logging.getLogger("harmony_jax")]),
        tqdm(total=len(jobs), unit="photo", disable=None) as bar,
        ThreadPoolExecutor(_WORKERS) as executor,
    ):
        futures = {executor.submit(_run, model, job, settings, budget): job for job in jobs}
        try:
            for future in as_completed(futures):
                try:
                    future.result()
                except Exception as error:  # of any kind: the other photos are done all the same
                    if model.error is not None:
                        raise model.error from None
                    job, text = futures[future], " ".join(str(error).split())
                    unforeseen = f"{job.photo}: {type(error).__name__}: {text}"
                    failures[job] = text if isinstance(error, InputError) else unforeseen
                bar.update()
        finally:  # after an interrupt, photos that were begun are finished
            executor.shutdown(cancel_futures=True)
    written = [job.output for job in jobs if job not in failures]
    return written, [failures[job] for job in jobs if job in failures]


def _run(model: _Model, job: Job, settings: Settings, budget: PixelBudget) -> None:
    """Reads, harmonizes and writes one photo; errors name it."""
    for path in (job.photo, job.onto):
        if path is not None:
            check_ending(path.suffix, str(path))
    paths = [path for path in (job.photo, job.mask, job.onto) if path is not None]
    files = [(read_file(path), str(path), settings.max_pixels, path is job.mask) for path in paths]
    try:
        with budget.hold(sum(count_pixels(*file) for file in files)):
            _run_files(model, job, files, settings)
    except MemoryError as error:
        raise InputError(f"{job.photo}: not enough memory: make it smaller") from error


def _run_files(
    model: _Model, job: Job, files: list[tuple[bytes, str, int, bool]], settings: Settings
) -> None:
    """Harmonizes and writes one photo; `files` are `decode_picture`'s arguments for its files."""
    with ThreadPoolExecutor(len(files)) as executor:
        pictures = list(executor.map(decode_picture, *zip(*files, strict=True)))
    try:
        photo, mask = _photo_and_mask(job, pictures, settings)
        check_mask(mask)
        pictures.clear()  # the inputs of a large photo are a good part of the memory
        photo, _ = harmonize_picture(model.get(), photo, mask, settings.strength)
    except InputError as error:
        if error is model.error:
            raise
        raise InputError(f"{' with '.join(name for _, name, *_ in files)}: {error}") from error
    write_picture(job.output, photo, settings.jpeg)


def harmonize_picture(
    harmonizer: Harmonizer, photo: Picture, mask: PixelMask, strength: float = 1.0
) -> tuple[Picture, np.ndarray | None]:
    """The picture harmonized, with what came with it, and the blend mask as in `Harmonized`."""
    (result,) = harmonizer.harmonize_all([photo], [mask], strength=strength)
    return photo._replace(pixels=result.image), result.blend_mask


def _photo_and_mask(
    job: Job, pictures: list[Picture], settings: Settings
) -> tuple[Picture, PixelMask]:
    """What is harmonized; `pictures` are the photo, its mask if it has one, and the background."""
    photo = pictures[0]
    if job.mask is not None:
        mask, remark = mask_of(pictures[1], settings.mask_values)
        if remark:
            _LOGGER.warning("%s: %s (mask_values and invert_masks choose)", job.mask, remark)
        own, size = mask.shape, photo.pixels.shape[:2]
        if own != size:
            mask = fit_size(mask, *size)
            text = "%s: is %d x %d, the photo %d x %d: the mask is resized"
            _LOGGER.warning(text, job.mask, *own[::-1], *size[::-1])
    else:
        mask, photo = alpha_mask(photo), photo._replace(alpha=None)
    inverted = settings.invert_masks == "auto" and looks_inverted(mask)
    if inverted:
        text = "%s: white along the picture's border: taken as inverted"
        _LOGGER.warning(text, job.mask or job.photo)
    if inverted or settings.invert_masks == "always":
        mask = 255 - mask
    if job.onto is not None:
        return paste(cut_out(photo, mask), pictures[-1], settings.placement, settings.max_pixels)
    hidden = photo.pixels[mask == 0] if job.mask is None else photo.pixels[:0, 0]
    if len(hidden) and (hidden == hidden[0]).all():
        _LOGGER.warning(
            "%s: its background is one colour: give it a background to paste it on", job.photo
        )
    return photo, mask
