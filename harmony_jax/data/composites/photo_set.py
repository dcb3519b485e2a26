"""A folder of photos, with or without masks of the objects in them."""

import copy
import os
import re
from collections import defaultdict
from collections.abc import Container, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from harmony_jax.data.codecs import Pixels, by_stem, decode_mask, decode_photo
from harmony_jax.data.composites.regions import find_regions, to_size
from harmony_jax.data.composites.statistics import Statistics, object_statistics
from harmony_jax.data.iharmony4 import check_size
from harmony_jax.data.sources import RawSample
from harmony_jax.disk import read_file
from harmony_jax.errors import InputError

_MIN_SIDE = 32  # pixels

_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
_MASK_ENDINGS = (".png", ".webp", ".bmp")  # lossless formats
_MASKS = "masks"
_EXPECTED = "a folder of photos; their masks, if any, are NAME.png or NAME_1.png in a folder masks/"


class _Object(NamedTuple):
    photo: str  # name below the root
    mask: Path | None  # None: a region is found in the photo
    number: int  # among the photo's objects, from 1


class PhotoSet:
    """Random access to the objects in a folder's photos, in the order of their names.

    Photos are found in the folder and all folders below, except in those called masks/. The masks
    of `FOLDER/NAME.jpg` are `NAME.png` and `NAME_1.png`, `NAME_2.png`, ... in `FOLDER/masks/`, in a
    folder masks/ beside FOLDER, or in the given one: white on an object, of the photo's size. A
    photo without masks gets so many `regions` (`find_regions`); with 0 it is left out. Messages
    call the root `field`.
    """

    def __init__(self, root: str, masks: str = "", regions: int = 2, field: str = "data.root"):
        if not root:
            raise InputError(f"{field} is empty: pass {_EXPECTED}")
        if not os.path.isdir(root):
            raise InputError(f"{field} {root}: no such folder: pass {_EXPECTED}")
        if masks and not os.path.isdir(masks):
            raise InputError(f"data.masks {masks}: no such folder: pass one, or leave it empty")
        if regions < 0:
            raise InputError(f"data.regions_per_photo {regions}: choose 0 or more")
        self.root = Path(root)
        self._per_photo = regions
        self._objects = _list_objects(self.root, Path(masks) if masks else None, regions)
        if not self._objects:
            photos = "no photo with a mask" if not regions else "no photo"
            raise InputError(f"{field} {root}: {photos} in it ({', '.join(_ENDINGS)}): {_EXPECTED}")
        self._regions: dict[str, list[tuple[np.ndarray, tuple[int, ...]]]] = {}
        self._statistics: dict[_Object, Statistics | str] = {}  # or why there are none

    def __len__(self) -> int:
        return len(self._objects)

    def __getitem__(self, index: int) -> RawSample:
        """Decodes an object's photo and mask; an unusable file raises InputError."""
        found = self._objects[index]
        path = self.root / found.photo
        photo = decode_photo(read_file(path), str(path))
        height, width = photo.shape[:2]
        if min(height, width) < _MIN_SIDE:
            raise InputError(
                f"{path}: {height}x{width} (height x width): photos need at least {_MIN_SIDE} "
                "pixels a side: remove it"
            )
        if found.mask is None:
            mask = self._region(found, path, photo)
        else:
            mask = decode_mask(read_file(found.mask), str(found.mask))
            check_size(str(found.mask), mask.shape, str(path), photo.shape)
            if not mask.any() or mask.min() > 127:
                missing = "background" if mask.any() else "foreground"
                raise InputError(f"{found.mask}: the mask has no {missing}: repair or remove it")
        if not isinstance(self._statistics.get(found), Statistics):
            self._statistics[found] = object_statistics(photo, mask)
        return RawSample(real=photo, mask=mask)

    def select(self, indices: Sequence[int]) -> "PhotoSet":
        """Some of the objects."""
        selected = copy.copy(self)
        selected._objects = [self._objects[index] for index in indices]
        return selected

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_regions": {}, "_statistics": {}}  # workers fill their own

    def statistics(self, index: int) -> Statistics:
        """An object's colours, kept since it was first read, or InputError."""
        wanted = self._objects[index]
        if wanted not in self._statistics:
            try:
                self[index]
            except InputError as error:
                self._statistics[wanted] = str(error)  # so that the file is read only once
        found = self._statistics[wanted]
        if isinstance(found, str):
            raise InputError(found)
        return found

    def set_statistics(self, index: int, statistics: Statistics) -> None:
        """Sets an object's colours, so that its photo is not read for them."""
        self._statistics[self._objects[index]] = statistics

    def name(self, index: int) -> str:
        """An object's name: the photo's, with the object's number before the ending."""
        found = self._objects[index]
        path = Path(found.photo)
        return path.with_name(f"{path.stem}_{found.number}{path.suffix}").as_posix()

    def photo(self, index: int) -> str:
        """The photo's name below the root."""
        return self._objects[index].photo

    def _region(self, found: _Object, path: Path, photo: Pixels) -> Pixels:
        if found.photo not in self._regions:  # packed, because there may be millions of photos
            regions = find_regions(photo, self._per_photo)
            packed = [(np.packbits(region > 0), region.shape) for region in regions]
            self._regions[found.photo] = packed
        packed = self._regions[found.photo]
        if found.number > len(packed):
            raise InputError(
                f"{path}: {len(packed)} regions of an object's size found, not {found.number}: "
                "give it masks or remove it"
            )
        bits, shape = packed[found.number - 1]
        region = np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape)
        return to_size(255 * region, *photo.shape[:2])


def _list_objects(root: Path, masks: Path | None, regions: int) -> list[_Object]:
    objects: list[_Object] = []
    masks_in = cache(_masks_in)
    for place, below, names in os.walk(root):
        below[:] = sorted(name for name in below if name != _MASKS and not name.startswith("."))
        folder = Path(place)
        photos = by_stem(folder, sorted(names), _ENDINGS)
        found: dict[str, list[Path]] = {}
        for candidate in [masks] if masks else [folder / _MASKS, folder.parent / _MASKS]:
            found = found or _masks_of(photos, masks_in(candidate))
        for stem, name in photos.items():
            photo = (folder / name).relative_to(root).as_posix()
            own: list[Path | None] = [*found.get(stem, [])] or [None] * regions
            objects += [_Object(photo, mask, number) for number, mask in enumerate(own, 1)]
    return objects


def _masks_in(folder: Path) -> dict[str, list[tuple[int, Path]]]:
    """The masks in a folder by the stem of their photo: `a_1.png` belongs to `a_1`, or to `a`."""
    found: dict[str, list[tuple[int, Path]]] = defaultdict(list)
    for name in os.listdir(folder) if folder.is_dir() else []:
        path = folder / name
        if path.suffix.lower() in _MASK_ENDINGS and not name.startswith("."):
            found[path.stem].append((-1, path))
            if numbered := re.fullmatch(r"(.+)_(\d+)", path.stem, re.DOTALL):
                found[numbered[1]].append((int(numbered[2]), path))
    return found


def _masks_of(
    photos: Container[str], masks: dict[str, list[tuple[int, Path]]]
) -> dict[str, list[Path]]:
    """The masks of photos, in their order; a numbered one may be another photo's own."""
    found = {
        stem: [path for number, path in sorted(own) if number < 0 or path.stem not in photos]
        for stem, own in masks.items()
        if stem in photos
    }
    return {stem: own for stem, own in found.items() if own}
