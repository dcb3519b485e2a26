"""Which photo, mask and background belong together, and where the result goes."""

import bisect
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from harmony_jax.errors import InputError
from harmony_jax.photos.formats import (
    ENDINGS,
    check_ending,
    check_written_ending,
    output_name,
)

# How people mark the mask of a photo: cat_mask.png is that of cat.jpg.
_MARKS = ("_mask", "-mask", ".mask")

# What systems leave in folders; names that begin with a dot are passed over as well.
_LITTER = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r")
_LITTER_FOLDERS = ("__MACOSX", "@eaDir")


class Job(NamedTuple):
    """One photo to harmonize.

    Attributes:
        photo: the composite; with `onto`, what is pasted.
        mask: its mask; None takes its alpha channel.
        output: the file to write.
        onto: the background to paste it on, or None.
    """

    photo: Path
    mask: Path | None
    output: Path
    onto: Path | None = None


class Inputs(NamedTuple):
    """What is to be done, as the user says it: files, or folders of them.

    Attributes:
        image: a photo, or a folder of them.
        mask: its mask, or a folder; None if photos bring theirs as alpha channel.
        output: a file or folder for one photo; a folder for many.
        onto: a background to paste on; or, for a folder of photos, a folder of backgrounds.
    """

    image: Path
    mask: Path | None
    output: Path
    onto: Path | None = None


def job_of_photo(inputs: Inputs, ending: str | None, overwrite: bool) -> Job:
    """The job of a single photo.

    Args:
        inputs: files.
        ending: of the output, such as .png; None keeps the photo's, or the background's.
        overwrite: whether the output may be there already.

    Raises:
        InputError: the output cannot be what is asked for, is there, or is one of the inputs.
    """
    image, mask, output, onto = inputs
    if onto is not None and onto.is_dir():
        raise InputError(f"{onto}: is a folder: one cutout goes on one background")
    is_folder = output.is_dir() or not output.suffix
    target = output / _name(image, onto, ending) if is_folder else output
    check_written_ending(target.suffix, str(target))
    if ending and target.suffix.lower() != ending:
        raise InputError(f"{target}: does not end in {ending}, the format asked for")
    for kind, path in (("photo", image), ("mask", mask), ("background", onto)):
        if path is not None and target.exists() and target.samefile(path):
            raise InputError(f"{target}: is the {kind} itself: choose another output")
    if target.exists() and not overwrite:
        raise InputError(f"{target}: is there already: choose another, or pass --overwrite")
    return Job(image, mask, target, onto)


def jobs_of_folder(
    inputs: Inputs, ending: str | None, recursive: bool
) -> tuple[list[Job], list[str]]:
    """The photos of a folder that can be tried, and a line for each that cannot.

    Args:
        inputs: folders; `onto` may be one background for all.
        ending: of the outputs; None keeps each photo's, or its background's.
        recursive: whether folders in the folder are searched; masks and backgrounds then lie, and
            outputs come, in folders of the same names.

    Raises:
        InputError: there is no photo, or the output is a file or one of the folders.
    """
    images, masks, output, onto = inputs
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: is a file: choose a folder for the photos of {images}")
    folders = [("photos", images), ("masks", masks), ("backgrounds", onto)]
    others = []  # which lie elsewhere, or inside
    for kind, folder in folders:
        if folder is not None and output.exists() and output.samefile(folder):
            raise InputError(f"{output}: is the folder of the {kind}: choose another output")
        if folder is not None and folder.is_dir() and not folder.samefile(images):
            others.append(folder)
    photos = _Files(images, recursive, [output, *others])
    if not photos.pictures:
        hint = "" if recursive else " (folders in it are not searched: --recursive does)"
        raise InputError(f"{images}: no photo in this folder{hint}")
    together = masks is not None and masks.samefile(images)
    mask_files = _Files(masks, recursive, [output]) if masks is not None else None
    grounds = _Files(onto, recursive, [output]) if onto is not None and onto.is_dir() else None
    jobs, failures = [], []
    for photo in photos.pictures:
        if together and photos.is_mask(photo):
            continue
        try:
            photos.check(photo)
            mask = mask_files.mask_of(photo, images, together) if mask_files else None
            ground = grounds.ground_of(photo, images) if grounds else onto
        except InputError as error:
            failures.append(str(error))
            continue
        place = output / photo.parent.relative_to(images)
        jobs.append(Job(photo, mask, place / _name(photo, ground, ending), ground))
    return jobs, failures


def _name(photo: Path, onto: Path | None, ending: str | None) -> str:
    suffix = Path(output_name(photo if onto is None else onto, ending)).suffix
    return photo.with_suffix(suffix).name


class _Files:
    """The files of a folder, by folder inside and stem."""

    def __init__(self, root: Path, recursive: bool, without: list[Path]):
        """`without`: folders inside that hold something else."""
        self._root = root
        self.pictures = sorted(_files(root, recursive, without))
        self._stems: dict[Path, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
        self._marked: dict[Path, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
        self._names: dict[Path, list[str]] = defaultdict(list)
        for path in self.pictures:
            place = path.parent.relative_to(root)
            self._names[place].append(path.name)
            if path.suffix.lower() not in ENDINGS:
                continue
            self._stems[place][path.stem].append(path)
            if (base := _unmarked(path.stem)) is not None:
                self._marked[place][base].append(path)

    def check(self, photo: Path) -> None:
        """Raises InputError unless a photo can be tried, and its output is its own."""
        if photo.is_symlink() and not photo.exists():
            raise InputError(f"{photo}: a link that leads nowhere: remove it, or what it names")
        check_ending(photo.suffix, str(photo))
        twins = [
            path.name
            for path in self._stems[photo.parent.relative_to(self._root)][photo.stem]
            if path != photo and path.suffix.lower() in ENDINGS
        ]
        if twins:
            raise InputError(
                f"{photo}: {' and '.join(twins)} has the same stem: rename one and its mask"
            )

    def is_mask(self, path: Path) -> bool:
        """Whether it is the mask of another file here, where masks lie beside their photos."""
        place = path.parent.relative_to(self._root)
        stems, marked = self._stems[place], self._marked[place]
        base = _unmarked(path.stem)
        if base is not None and stems.get(base):
            return True
        if marked.get(path.stem):  # it has a mask of its own
            return False
        return any(
            _region(stem) == path.stem and not marked.get(stem)
            for stem in stems
            if stem != path.stem
        )

    def mask_of(self, photo: Path, images: Path, together: bool) -> Path:
        """The photo's own mask, or in iHarmony4 the one that the composites of a region share."""
        place = photo.parent.relative_to(images)
        own = [] if together else self._stems[place].get(photo.stem, [])
        for found in (
            own,
            self._marked[place].get(photo.stem, []),
            self._stems[place].get(_region(photo.stem), []),
        ):
            if found:
                return _only(photo, found, "its mask")
        marked = f"{photo.stem}_mask.png" if together else f"{photo.stem}.png"
        raise InputError(
            f"{photo}: no mask: expected {self._root / place / marked}"
            + self._nearest(place, photo.stem, photo.name if together else None)
        )

    def ground_of(self, photo: Path, images: Path) -> Path:
        """The background of a cutout, of the same name."""
        place = photo.parent.relative_to(images)
        for stem in (photo.stem, _region(photo.stem)):
            if found := self._stems[place].get(stem):
                return _only(photo, found, "its background")
        raise InputError(
            f"{photo}: no background: expected {self._root / place / photo.stem}.jpg"
            + self._nearest(place, photo.stem, None)
        )

    def _nearest(self, place: Path, stem: str, without: str | None) -> str:
        """What does lie there, where the alphabet would have the file that is missing."""
        names = [name for name in self._names[place] if name != without]
        if not names:
            return "; nothing lies there"
        start = max(0, min(bisect.bisect(names, stem) - 1, len(names) - 3))
        shown = names[start : start + 3]
        more = len(names) - len(shown)
        return f"; there is {', '.join(shown)}" + (f" and {more} more" if more else "")


def _only(photo: Path, found: list[Path], role: str) -> Path:
    if len(found) > 1:
        names = " and ".join(sorted(path.name for path in found))
        raise InputError(f"{photo}: {names} could both be {role}: remove one")
    return found[0]


def _unmarked(stem: str) -> str | None:
    """The stem of the photo that a marked mask belongs to; None if it is not marked."""
    return next((stem[: -len(mark)] for mark in _MARKS if stem.lower().endswith(mark)), None)


def _region(stem: str) -> str:
    """`a_b` of `a_b_c`, as iHarmony4 names the mask of its composites."""
    return stem.rpartition("_")[0]


def _files(root: Path, recursive: bool, without: list[Path]) -> Iterator[Path]:
    """Files, and links that lead nowhere; not what systems leave."""
    left_out = {folder.resolve() for folder in without}

    def refuse(error: OSError) -> None:
        place = error.filename or root
        raise InputError(f"{place}: cannot be read ({error.strerror}): check the path") from error

    for place, folders, names in os.walk(root, onerror=refuse):
        folders[:] = [
            name
            for name in folders
            if recursive
            and not name.startswith(".")
            and name not in _LITTER_FOLDERS
            and (Path(place) / name).resolve() not in left_out
        ]
        for name in names:
            path = Path(place) / name
            if name.startswith(".") or name.lower() in _LITTER:
                continue
            if path.is_file() or (path.is_symlink() and not path.exists()):
                yield path
