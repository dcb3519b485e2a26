"""Pairs of your own: a folder of composites, masks and real photos, or a list of them.

A folder holds three, named as in `KINDS`; files belong together by their stem: `composites/a.jpg`,
`masks/a.png`, `reals/a.jpg`. Several composites may share a mask or a real photo as in iHarmony4:
`a_b_c` takes `a_b` or `a` where there is none of its own, unless that is another composite's.

A list is a CSV file with three columns and commas, one sample a line: composite, mask, real photo,
relative to the list's folder or absolute. A first line with these names may give another order.
Backslashes are turned, and a leading slash or the folder's own name is left out, where that helps.
"""

import csv
import logging
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from harmony_jax.data.codecs import by_stem
from harmony_jax.data.iharmony4 import FilesSource, SampleFiles
from harmony_jax.data.lists import read_lines, with_slashes
from harmony_jax.disk import Present
from harmony_jax.errors import InputError

# What a sample consists of, a list's columns; and the names that a folder of each may have.
KINDS = {
    "composite": ("composites", "composite_images"),
    "mask": ("masks",),
    "real": ("reals", "real_images"),
}

_LOGGER = logging.getLogger(__name__)

_ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
_EXPECTED = "a folder with composites/, masks/ and reals/, or a CSV list of the three"


class PairsSource(FilesSource):
    """Decoded pairs, a folder's in the order of their names, a list's in its own.

    They are one subset, named after the folder or list. Messages call the root `field`. `part` is
    `train` or `test` for the composites outside or inside of the folder's test list, if it has one.
    """

    def __init__(self, root: str, field: str = "data.root", part: str = ""):
        if not root:
            raise InputError(f"{field} is empty: pass {_EXPECTED}")
        path = Path(root)
        if path.is_file():
            pairs = _read_list(path)
        elif path.is_dir():
            pairs = _read_folder(path, field)
            if part and (listed := find_test_list(root)):
                names = {
                    with_slashes(line.strip()).rpartition("/")[2] for line in read_lines(listed)
                }
                pairs = [pair for pair in pairs if (pair.name in names) == (part == "test")]
        else:
            raise InputError(f"{field} {root}: no such file or folder: pass {_EXPECTED}")
        super().__init__(pairs, str(path))


def is_pairs(root: str | os.PathLike[str]) -> bool:
    """Whether a path is a list file, or a folder that holds one of composites itself."""
    path = Path(root)
    return path.is_file() or any((path / name).is_dir() for name in KINDS["composite"])


def find_test_list(root: str) -> Path | None:
    """A folder's NAME_test.txt beside NAME_train.txt, as in iHarmony4, unless it is empty."""
    for path in sorted(Path(root).glob("*_test.txt")):
        train = path.with_name(f"{path.name.removesuffix('_test.txt')}_train.txt")
        if train.is_file() and path.stat().st_size:
            return path
    return None


def _read_folder(root: Path, field: str) -> list[SampleFiles]:
    folders = {}
    for kind, names in KINDS.items():
        found = [root / name for name in names if (root / name).is_dir()]
        if not found:
            listed = " or ".join(f"{name}/" for name in names)
            raise InputError(f"{field} {root}: no {listed} in it: pass {_EXPECTED}")
        folders[kind] = found[0]
    composites, masks, reals = (_pictures(folder) for folder in folders.values())
    if not composites:
        raise InputError(
            f"{folders['composite']}: no picture in this folder: expected {', '.join(_ENDINGS)}"
        )
    subset = Path(os.path.abspath(root)).name
    pairs, missing = [], []
    for stem, composite in composites.items():
        mask, real = (_partner(stem, found, composites) for found in (masks, reals))
        if mask is None:
            missing.append(f"{composite}: no mask: expected {folders['mask'] / stem}.png")
        elif real is None:
            missing.append(f"{composite}: no real photo: expected {folders['real'] / stem}.jpg")
        else:
            pairs.append(SampleFiles(subset, composite.name, real.name, composite, real, mask))
    if missing:
        count = f"{len(missing)} of {len(composites)} composites lack a file"
        raise InputError(f"{missing[0]} ({count})")
    return pairs


def _pictures(folder: Path) -> dict[str, Path]:
    """The pictures of a folder, in the order of their names; a warning lists other files."""
    names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    found = by_stem(folder, names, _ENDINGS)
    if others := sorted({*names} - {*found.values()}):
        endings, shown = ", ".join(_ENDINGS), ", ".join(others[:5])
        _LOGGER.warning("%s: ignored %d that are not %s: %s", folder, len(others), endings, shown)
    return {stem: folder / name for stem, name in found.items()}


def _partner(stem: str, found: Mapping[str, Path], composites: Collection[str]) -> Path | None:
    """The file of a composite's stem, or of that without its last or last two parts."""
    if stem in found:
        return found[stem]
    for _ in range(2):
        stem = stem.rpartition("_")[0]
        if stem in found and stem not in composites:
            return found[stem]
    return None


def _read_list(path: Path) -> list[SampleFiles]:
    lines, present = read_lines(path), Present()
    pairs: list[SampleFiles] = []
    places: dict[str, int] = {}
    order = list(KINDS)
    for number, cells in _rows(path, lines):
        if not any(cells):
            continue
        if len(cells) != len(KINDS) or not all(cells):
            raise InputError(
                f"{path}, line {number}: {lines[number - 1][:100]!r}: expected {len(KINDS)} "
                f"columns with commas: {', '.join(KINDS)}"
            )
        if not pairs and sorted(cell.lower() for cell in cells) == sorted(KINDS):
            order = [cell.lower() for cell in cells]
            continue
        row = dict(zip(order, cells, strict=True))
        files = {kind: _listed(path.parent, row[kind], present) for kind in KINDS}
        name, photo = (_name_below(path.parent, files[kind]) for kind in ("composite", "real"))
        if name in places:
            raise InputError(
                f"{path}, line {number}: {row['composite']} stands in line {places[name]} already: "
                "remove one"
            )
        places[name] = number
        pairs.append(SampleFiles(path.stem, name, photo, **files))
    if not pairs:
        raise InputError(f"{path}: the list is empty: expected composite,mask,real a line")
    return pairs


def _listed(folder: Path, entry: str, present: Present) -> Path:
    """The file that an entry of a list names, or where it should be."""
    plain = with_slashes(entry).lstrip("/")
    entries = (entry, with_slashes(entry), plain, plain.removeprefix(f"{folder.absolute().name}/"))
    found = (present.find(folder / entry) for entry in entries)
    return next((path for path in found if path), folder / with_slashes(entry))


def _rows(path: Path, lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """The cells of each line, with its number from 1."""
    reader = csv.reader(lines, skipinitialspace=True, strict=True)
    try:
        for row in reader:
            yield reader.line_num, [cell.strip() for cell in row]
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}: write it as CSV") from error


def _name_below(folder: Path, path: Path) -> str:
    """A file's name that does not change with the place of the list, if it lies below."""
    base, absolute = (Path(os.path.abspath(place)) for place in (folder, path))
    inside = absolute.is_relative_to(base)
    return absolute.relative_to(base if inside else absolute.anchor).as_posix()
