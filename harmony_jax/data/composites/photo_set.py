"""A folder of photos, with masks of the objects in them or without."""

import os
import re
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from harmony_jax.data.codecs import Pixels, decode_mask, decode_photo
from harmony_jax.data.composites.regions import find_regions, to_size
from harmony_jax.data.composites.statistics import Statistics, object_statistics
from harmony_jax.data.iharmony4 import check_size
from harmony_jax.disk import read_file
from harmony_jax.errors import InputError

MIN_SIDE = 32  # pixels, of a photo

_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
_MASK_ENDINGS = (".png", ".webp", ".bmp")  # those without loss
_MASKS = "masks"
_EXPECTED = "a folder of photos, with masks NAME.png or NAME_1.png in a folder masks/ if there are"


class _Object(NamedTuple):
    photo: str  # below the root
    mask: Path | None  # None: a region of the photo
    number: int  # of the photo's objects, from 1


class PhotoSet:
    """Random access to the objects in a folder's photos, in the order of their names.

    Photos are looked for in the folder and all below, but not in those called masks/. The masks of
    `FOLDER/NAME.jpg` are `NAME.png` and `NAME_1.png`, `NAME_2.png`, ... in `FOLDER/masks/`, in a
    folder masks/ beside FOLDER, or in the one that is given: white on an object, of the photo's
    size. A photo that has none gets regions (`find_regions`), or is left out.

    Args:
        root: the folder.
        masks: folder of all masks; empty: as above.
        regions: of each photo without masks; 0: these are left out.
        field: what messages call the root.

    Raises:
        InputError: no such folder, nothing in it, or names that leave open what belongs together.
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
        self._statistics: dict[int, Statistics | InputError] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_regions": {}, "_statistics": {}}  # a worker finds its own

    def read(self, index: int) -> tuple[Pixels, Pixels]:
        """Decodes an object's photo, RGB uint8 [height, width, 3], and mask [height, width].

        Raises:
            InputError: a picture is damaged or too small, sizes differ, the mask is all black or
                all white, or the photo has too few regions.
        """
        found = self._objects[index]
        path = self.root / found.photo
        photo = decode_photo(read_file(path), str(path))
        height, width = photo.shape[:2]
        if min(height, width) < MIN_SIDE:
            raise InputError(
                f"{path}: {height}x{width} (height x width): a photo has at least {MIN_SIDE} "
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
        if not isinstance(self._statistics.get(index), Statistics):
            self._statistics[index] = object_statistics(photo, mask)
        return photo, mask

    def statistics(self, index: int) -> Statistics:
        """An object's colours, kept from when it was first read; errors as `read`."""
        if index not in self._statistics:
            try:
                self.read(index)
            except InputError as error:
                # Kept without the frames that hold the picture; a file is read once for this.
                self._statistics[index] = error.with_traceback(None)
        found = self._statistics[index]
        if isinstance(found, InputError):
            raise InputError(str(found))
        return found

    def set_statistics(self, index: int, statistics: Statistics) -> None:
        """Spares reading an object for its colours."""
        self._statistics[index] = statistics

    def name(self, index: int) -> str:
        """Of an object: the photo's, with the object's number before the ending."""
        found = self._objects[index]
        path = Path(found.photo)
        return path.with_name(f"{path.stem}_{found.number}{path.suffix}").as_posix()

    def photo(self, index: int) -> str:
        """The photo's name below the root."""
        return self._objects[index].photo

    def _region(self, found: _Object, path: Path, photo: Pixels) -> Pixels:
        if found.photo not in self._regions:  # packed: millions of photos may have some
            regions = find_regions(photo, self._per_photo)
            packed = [(np.packbits(region > 0), region.shape) for region in regions]
            self._regions[found.photo] = packed
        packed = self._regions[found.photo]
        if found.number > len(packed):
            raise InputError(
                f"{path}: {len(packed)} regions of an object's size found, not {found.number}: "
                "give it masks, remove it, or pass --config.data.unreadable=skip"
            )
        bits, shape = packed[found.number - 1]
        region = np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape)
        return to_size(255 * region, *photo.shape[:2])


def _list_objects(root: Path, masks: Path | None, regions: int) -> list[_Object]:
    objects: list[_Object] = []
    cache: dict[Path, dict[str, list[Path]]] = {}
    for folder, names in _folders(root):
        photos = _by_stem(folder, names)
        places = [masks] if masks else [folder / _MASKS, folder.parent / _MASKS]
        found: dict[str, list[Path]] = {}
        for place in places:
            if place not in cache:
                cache[place] = _masks_by_photo(place, photos)
            found = cache[place]
            if found:
                break
        for stem, name in photos.items():
            photo = (folder / name).relative_to(root).as_posix()
            own: list[Path | None] = list(found.get(stem, [])) or [None] * regions
            objects += [_Object(photo, mask, number) for number, mask in enumerate(own, 1)]
    return objects


def _folders(root: Path) -> list[tuple[Path, list[str]]]:
    """Every folder that holds photos, with their names, in order."""
    found = []
    for folder, below, names in os.walk(root):
        below[:] = [name for name in below if name != _MASKS and not name.startswith(".")]
        photos = sorted(
            name
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in _ENDINGS
        )
        if photos:
            found.append((Path(folder), photos))
    return sorted(found)


def _by_stem(folder: Path, names: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        stem = Path(name).stem
        if stem in found:
            raise InputError(f"{folder / name}: {found[stem]} has the same stem: rename one")
        found[stem] = name
    return found


def _masks_by_photo(folder: Path, photos: dict[str, str]) -> dict[str, list[Path]]:
    """The masks of photos in a folder, by the photo's stem: `a_1.png` is of `a_1`, or else `a`."""
    if not folder.is_dir():
        return {}
    found: dict[str, list[tuple[int, Path]]] = defaultdict(list)
    for name in sorted(os.listdir(folder)):
        path = folder / name
        if path.suffix.lower() not in _MASK_ENDINGS or name.startswith("."):
            continue
        numbered = re.fullmatch(r"(.+)_(\d+)", path.stem)
        if path.stem in photos:
            found[path.stem].append((0, path))
        elif numbered and numbered[1] in photos:
            found[numbered[1]].append((int(numbered[2]), path))
    return {stem: [path for _, path in sorted(masks)] for stem, masks in found.items()}
