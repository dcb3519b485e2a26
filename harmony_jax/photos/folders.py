"""Prediction: a photo and its mask, or folders of them, to harmonized pictures."""

import logging
import os
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from harmony_jax.devices.host_cores import usable_cores
from harmony_jax.disk import check_writable, read_file
from harmony_jax.errors import InputError
from harmony_jax.photos.color import conversion_of
from harmony_jax.photos.formats import (
    ENDINGS,
    MAX_PIXELS,
    JpegOptions,
    Picture,
    check_ending,
    check_written_ending,
    count_pixels,
    decode_picture,
    output_name,
    write_picture,
)
from harmony_jax.photos.harmonizer import Harmonizer
from harmony_jax.photos.masks import PixelMask, alpha_mask, fit_size, looks_inverted, mask_of
from harmony_jax.photos.outcome import Outcome
from harmony_jax.photos.pixel_budget import PixelBudget

_LOGGER = logging.getLogger(__name__)

# Photos read, changed and written at the same time; each needs memory for itself.
_WORKERS = min(4, usable_cores())

# Of photos and masks that are in memory together, so that four of the largest need not fit.
_PIXELS_AT_ONCE = MAX_PIXELS

Invert = Literal["never", "always", "auto"]


class Settings(NamedTuple):
    """How photos are harmonized and written.

    Attributes:
        strength: how much of the change to make, from 0 to 1.
        invert_masks: `always` if they are black on the foreground; `auto` takes those as inverted
            that would make most of the picture's border foreground.
        ending: of the outputs, such as .png; None keeps the photo's.
        overwrite: whether to replace outputs that are there already.
        max_pixels: larger photos are refused.
        jpeg: how JPEG is compressed.
    """

    strength: float = 1.0
    invert_masks: Invert = "never"
    ending: str | None = None
    overwrite: bool = False
    max_pixels: int = MAX_PIXELS
    jpeg: JpegOptions = JpegOptions()


_DEFAULTS = Settings()


class Job(NamedTuple):
    """One photo to harmonize; without a mask its alpha channel is the mask."""

    photo: Path
    mask: Path | None
    output: Path


def predict(
    checkpoint: str | os.PathLike[str] | None,
    image: Path,
    mask: Path | None,
    output: Path,
    settings: Settings = _DEFAULTS,
) -> Outcome:
    """Harmonizes one photo, or every photo of a folder.

    In a folder, what cannot be done is left out and told in the outcome; outputs that are there
    already are kept, so that the same call continues.

    Args:
        checkpoint: as `Harmonizer.from_checkpoint` takes.
        image: a photo, or a folder of them.
        mask: its mask; or a folder with, for `a_b_c.jpg`, a mask named `a_b_c` or `a_b` with any
            ending of `ENDINGS`; None if photos bring theirs as alpha channel.
        output: file for one photo (or a folder, which keeps the photo's name); folder for many.
        settings: all else.

    Raises:
        InputError: nothing could be begun: an input is missing, the output cannot be written, or
            is one of the inputs; or the only photo could not be done.
    """
    try:
        return _predict(checkpoint, image, mask, output, settings)
    except OSError as error:  # what pathlib raises of folders that may not be looked into
        place = error.filename or output
        raise InputError(f"{place}: cannot be used ({error.strerror}): choose another") from error


def _predict(
    checkpoint: str | os.PathLike[str] | None,
    image: Path,
    mask: Path | None,
    output: Path,
    settings: Settings,
) -> Outcome:
    for path in (image, mask):
        if path is not None and not path.exists():
            raise InputError(f"{path}: no such file or folder: check the path")
    if mask is not None and image.is_dir() != mask.is_dir():
        raise InputError(f"{image} and {mask}: pass two files or two folders")
    if image.is_dir():
        jobs, failures = _jobs_of_folder(image, mask, output, settings)
    else:
        jobs, failures = [_only_job(image, mask, output, settings)], []
    waiting = [job for job in jobs if settings.overwrite or not job.output.exists()]
    written: list[Path] = []
    if waiting:
        check_writable(waiting[0].output.parent)
        harmonizer = Harmonizer.from_checkpoint(checkpoint)
        if not image.is_dir():
            _run(harmonizer, waiting[0], settings, PixelBudget(_PIXELS_AT_ONCE))
            return Outcome([waiting[0].output], 0, [])
        written, more = _run_all(harmonizer, waiting, settings)
        failures += more
    return Outcome(written, len(jobs) - len(waiting), failures)


def harmonize_picture(
    harmonizer: Harmonizer, photo: Picture, mask: PixelMask, strength: float = 1.0
) -> tuple[Picture, np.ndarray | None]:
    """Harmonizes a picture, which keeps what came with it.

    Args:
        harmonizer: does the work.
        photo: of any size; the network sees it in sRGB, whatever its profile.
        mask: of its size.
        strength: how much of the change to make, from 0 to 1.

    Returns:
        The harmonized picture, and the blend mask as `Harmonized` has it.

    Raises:
        InputError: as `Harmonizer.harmonize`.
    """
    conversion = conversion_of(photo.icc_profile)
    if conversion is None:
        (result,) = harmonizer.harmonize_all([photo.pixels], [mask], strength=strength)
        return photo._replace(pixels=result.image), result.blend_mask
    seen = conversion.to_srgb(photo.pixels, mask)
    (result,) = harmonizer.harmonize_all([seen], [mask], strength=strength)
    pixels = conversion.carried_back(photo.pixels, seen, result.image, mask)
    return photo._replace(pixels=pixels), result.blend_mask


def _run_all(
    harmonizer: Harmonizer, jobs: list[Job], settings: Settings
) -> tuple[list[Path], list[str]]:
    """What was written, and a line for each photo that failed, in the jobs' order."""
    failures: dict[Job, str] = {}
    budget = PixelBudget(_PIXELS_AT_ONCE)
    with (
        logging_redirect_tqdm([logging.getLogger("harmony_jax")]),
        tqdm(total=len(jobs), unit="photo", disable=None) as bar,
        ThreadPoolExecutor(_WORKERS) as executor,
    ):
        futures = {executor.submit(_run, harmonizer, job, settings, budget): job for job in jobs}
        try:
            for future in as_completed(futures):
                try:
                    future.result()
                except InputError as error:
                    failures[futures[future]] = str(error)
                except Exception as error:  # of one photo: the others are done all the same
                    _LOGGER.debug("%s", futures[future].photo, exc_info=True)
                    reason = " ".join(str(error).split())
                    failures[futures[future]] = (
                        f"{futures[future].photo}: {type(error).__name__}: {reason}"
                    )
                bar.update()
        except KeyboardInterrupt:
            executor.shutdown(cancel_futures=True)  # those begun are finished
            raise
    written = [job.output for job in jobs if job not in failures]
    return written, [failures[job] for job in jobs if job in failures]


def _run(harmonizer: Harmonizer, job: Job, settings: Settings, budget: PixelBudget) -> None:
    """Reads, harmonizes and writes one photo; errors name it."""
    check_ending(job.photo.suffix, str(job.photo))
    files = [(read_file(path), str(path)) for path in (job.photo, job.mask) if path is not None]
    try:
        with budget.hold(sum(count_pixels(*file, settings.max_pixels) for file in files)):
            _run_files(harmonizer, job, files, settings)
    except MemoryError as error:
        raise InputError(f"{job.photo}: not enough memory: make it smaller") from error


def _run_files(
    harmonizer: Harmonizer, job: Job, files: list[tuple[bytes, str]], settings: Settings
) -> None:
    """Harmonizes and writes one photo; `files` holds its content and its mask's, with names."""
    photo, *masks = (decode_picture(*file, settings.max_pixels) for file in files)
    label = str(job.photo) if job.mask is None else f"{job.photo} with {job.mask}"
    try:
        if masks:
            mask = _fitting_mask(masks[0], str(job.mask), photo)
        else:
            mask, photo = alpha_mask(photo), photo._replace(alpha=None)
        mask = _uninverted(mask, str(job.mask or job.photo), settings)
        result, _ = harmonize_picture(harmonizer, photo, mask, settings.strength)
    except InputError as error:
        raise InputError(f"{label}: {error}") from error
    write_picture(job.output, result, settings.jpeg)


def _fitting_mask(picture: Picture, label: str, photo: Picture) -> PixelMask:
    mask = mask_of(picture)
    height, width, _ = photo.pixels.shape
    if mask.shape != (height, width):
        _LOGGER.warning(
            "%s: is %d x %d, the photo %d x %d: the mask is resized",
            *(label, mask.shape[1], mask.shape[0], width, height),
        )
        mask = fit_size(mask, height, width)
    return mask


def _uninverted(mask: PixelMask, label: str, settings: Settings) -> PixelMask:
    if settings.invert_masks == "auto" and looks_inverted(mask):
        _LOGGER.warning("%s: white along the picture's border: taken as inverted", label)
    elif settings.invert_masks != "always":
        return mask
    return 255 - mask


def _only_job(image: Path, mask: Path | None, output: Path, settings: Settings) -> Job:
    is_folder = output.is_dir() or not output.suffix
    target = output / output_name(image, settings.ending) if is_folder else output
    check_written_ending(target.suffix, str(target))
    if settings.ending and target.suffix.lower() != settings.ending:
        raise InputError(f"{target}: does not end in {settings.ending}, the format asked for")
    for kind, path in (("photo", image), ("mask", mask)):
        if path is not None and target.exists() and target.samefile(path):
            raise InputError(f"{target}: is the {kind} itself: choose another output")
    if target.exists() and not settings.overwrite:
        raise InputError(f"{target}: is there already: choose another, or pass --overwrite")
    return Job(image, mask, target)


def _jobs_of_folder(
    images: Path, masks: Path | None, output: Path, settings: Settings
) -> tuple[list[Job], list[str]]:
    """The photos that have a mask, and a line for each that has not."""
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: is a file: choose a folder for the photos of {images}")
    for kind, folder in (("photos", images), ("masks", masks)):
        if folder is not None and output.exists() and output.samefile(folder):
            raise InputError(f"{output}: is the folder of the {kind}: choose another output")
    photos = sorted(p for p in _files(images) if p.is_file())
    if not photos:
        raise InputError(f"{images}: no photo in this folder (folders in it are not searched)")
    stems: dict[str, list[str]] = defaultdict(list)
    for photo in photos:
        if photo.suffix.lower() in ENDINGS:
            stems[photo.stem].append(photo.name)
    named: dict[str, list[Path]] = defaultdict(list)
    for path in _files(masks) if masks is not None else ():
        if path.suffix.lower() in ENDINGS:
            named[path.stem].append(path)
    jobs, failures = [], []
    for photo in photos:
        try:
            check_ending(photo.suffix, str(photo))
            if len(stems[photo.stem]) > 1:
                others = " and ".join(sorted(set(stems[photo.stem]) - {photo.name}))
                raise InputError(f"{photo}: {others} has the same stem: rename one and its mask")
            mask = _mask_of(photo, masks, named) if masks is not None else None
        except InputError as error:
            failures.append(str(error))
            continue
        jobs.append(Job(photo, mask, output / output_name(photo, settings.ending)))
    return jobs, failures


def _files(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}): check the path") from error


def _mask_of(photo: Path, folder: Path, named: dict[str, list[Path]]) -> Path:
    """The photo's own mask, or in iHarmony4 the one that the composites of a region share."""
    for stem in (photo.stem, photo.stem.rpartition("_")[0]):
        if len(found := named.get(stem, [])) == 1:
            return found[0]
        if found:
            names = " and ".join(sorted(path.name for path in found))
            raise InputError(f"{photo}: {names} could both be its mask: remove one")
    raise InputError(f"{photo}: no mask: expected {folder / photo.stem}.png")
