"""Which photo, mask and background belong together, and where the result goes."""

import difflib
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from harmony_jax.errors import InputError
from harmony_jax.photos.kinds import ENDINGS, check_ending, check_written_ending, output_name

# How people mark the mask of a photo: cat_mask.png belongs to cat.jpg.
_MARKS = ("_mask", "-mask", ".mask")

# System files, which are ignored; so are names that begin with a dot.
_SYSTEM_FILES = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r")
_SYSTEM_FOLDERS = ("__MACOSX", "@eaDir")


class Job(NamedTuple):
    """One photo to harmonize, its mask (None: its alpha channel), and its background, if any."""

    photo: Path
    mask: Path | None
    output: Path
    onto: Path | None = None


class Inputs(NamedTuple):
    """Files or folders that the user names, as `folders.predict` takes them."""

    image: Path
    mask: Path | None
    output: Path
    onto: Path | None = None


def job_of_photo(inputs: Inputs, ending: str | None, overwrite: bool) -> Job:
    """The job of a single photo; an ending of None keeps the photo's, or the background's."""
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
        raise InputError(f"{target}: exists already: choose another, or ask to overwrite")
    return Job(image, mask, target, onto)


def jobs_of_folder(
    inputs: Inputs, ending: str | None, recursive: bool
) -> tuple[list[Job], list[str]]:
    """The photos of a folder that can be tried, and a line for each that cannot.

    Args:
        inputs: folders; `onto` may be one background for all.
        ending: as in `job_of_photo`.
        recursive: whether folders in it are searched; masks, backgrounds and outputs are then in
            folders of the same names.
    """
    images, masks, output, onto = inputs
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: is a file: choose a folder for the photos of {images}")
    others = []  # folders that may be inside the photos'
    for kind, folder in (("photos", images), ("masks", masks), ("backgrounds", onto)):
        if folder is not None and output.exists() and output.samefile(folder):
            raise InputError(f"{output}: is the folder of the {kind}: choose another output")
        if folder is not None and folder.is_dir() and not folder.samefile(images):
            others.append(folder)
    photos = _Files(images, recursive, [output, *others])
    if not photos.paths:
        hint = "" if recursive else " (folders in it are not searched unless recursive)"
        raise InputError(f"{images}: no photo in this folder{hint}")
    together = masks is not None and masks.samefile(images)
    mask_files = _Files(masks, recursive, [output]) if masks is not None else None
    grounds = _Files(onto, recursive, [output]) if onto is not None and onto.is_dir() else None
    jobs, failures = [], []
    for photo in photos.paths:
        if together and photos.is_mask(photo):
            continue
        stem = photo.relative_to(images).with_suffix("")
        try:
            photos.check(photo)
            mask = mask_files.mask_of(photo, stem, together) if mask_files else None
            ground = grounds.ground_of(photo, stem) if grounds else onto
        except InputError as error:
            failures.append(" ".join(str(error).split()))  # names may have several lines
            continue
        place = output / stem.parent
        jobs.append(Job(photo, mask, place / _name(photo, ground, ending), ground))
    return jobs, failures


def _name(photo: Path, onto: Path | None, ending: str | None) -> str:
    suffix = Path(output_name(photo if onto is None else onto, ending)).suffix
    return photo.with_suffix(suffix).name


class _Files:
    """The files of a folder. Stems are paths in the folder without ending."""

    def __init__(self, root: Path, recursive: bool, without: list[Path]):
        """`without`: folders inside that hold something else."""
        self._root = root
        self.paths = sorted(_files(root, recursive, without))
        self._names: dict[Path, list[str]] = defaultdict(list)  # by folder
        self._by_stem: dict[Path | None, list[Path]] = defaultdict(list)
        self._marked: dict[Path, list[Path]] = defaultdict(list)  # masks by their photos' stems
        for path in self.paths:
            stem = self._stem(path)
            self._names[stem.parent].append(path.name)
            if path.suffix.lower() not in ENDINGS:
                continue
            self._by_stem[stem].append(path)
            if (base := _unmarked(stem)) is not None:
                self._marked[base].append(path)
        self._regions = {
            _region(stem) for stem in self._by_stem if stem and stem not in self._marked
        }

    def _stem(self, path: Path) -> Path:
        return path.relative_to(self._root).with_suffix("")

    def check(self, photo: Path) -> None:
        """Raises InputError unless a photo can be tried and no other has the same output."""
        if photo.is_symlink() and not photo.exists():
            raise InputError(f"{photo}: a link that leads nowhere: remove it, or its target")
        check_ending(photo.suffix, str(photo))
        twins = [path.name for path in self._by_stem.get(self._stem(photo), []) if path != photo]
        if twins:
            raise InputError(
                f"{photo}: {' and '.join(twins)} has the same stem: rename one and its mask"
            )

    def is_mask(self, path: Path) -> bool:
        """Whether it is the mask of another file here, where masks lie beside their photos."""
        stem = self._stem(path)
        if (base := _unmarked(stem)) is not None and base in self._by_stem:
            return True
        return stem not in self._marked and stem in self._regions

    def mask_of(self, photo: Path, stem: Path, together: bool) -> Path:
        """The photo's own mask, or in iHarmony4 the one that the composites of a region share."""
        own = [] if together else self._by_stem.get(stem, [])
        shared = self._by_stem.get(_region(stem), [])
        if found := own or self._marked.get(stem, []) or shared:
            return _only(photo, found, "its mask")
        expected = f"{self._root / stem}_mask.png" if together else f"{self._root / stem}.png"
        others = self._nearest(stem, photo.name if together else None)
        raise InputError(f"{photo}: no mask: expected {expected}; {others}")

    def ground_of(self, photo: Path, stem: Path) -> Path:
        """The background of a cutout, of the same name."""
        if found := self._by_stem.get(stem) or self._by_stem.get(_region(stem)):
            return _only(photo, found, "its background")
        others = self._nearest(stem, None)
        raise InputError(f"{photo}: no background: expected {self._root / stem}.jpg; {others}")

    def _nearest(self, stem: Path, without: str | None) -> str:
        """The files with names that are most like the one that is missing."""
        names = [name for name in self._names[stem.parent] if name != without]
        shown = sorted(difflib.get_close_matches(stem.name, names, 3, cutoff=0))
        more = len(names) - len(shown)
        return f"there is {', '.join(shown) or 'nothing'}" + (f" and {more} more" if more else "")


def _only(photo: Path, found: list[Path], role: str) -> Path:
    if len(found) > 1:
        names = " and ".join(sorted(path.name for path in found))
        raise InputError(f"{photo}: {names} could both be {role}: remove one")
    return found[0]


def _unmarked(stem: Path) -> Path | None:
    """The stem of the photo that a marked mask belongs to; None if it is not marked."""
    name = stem.name.lower()
    cut = next((len(mark) for mark in _MARKS if name.endswith(mark) and name != mark), None)
    return None if cut is None else stem.with_name(stem.name[:-cut])


def _region(stem: Path) -> Path | None:
    """`a_b` of `a_b_c`, as iHarmony4 names the mask of its composites."""
    region = stem.name.rpartition("_")[0]
    return stem.with_name(region) if region else None


def _files(root: Path, recursive: bool, without: list[Path]) -> Iterator[Path]:
    """Files, and links that lead nowhere; no system files."""
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
            and name not in _SYSTEM_FOLDERS
            and (Path(place) / name).resolve() not in left_out
        ]
        for name in names:
            path = Path(place) / name
            if name.startswith(".") or name.lower() in _SYSTEM_FILES:
                continue
            if path.is_file() or (path.is_symlink() and not path.exists()):
                yield path
