"""Writes composites of photos to disk, in iHarmony4's layout, continuing where it stopped."""

import csv
import io
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from harmony_jax.data.codecs import encode_jpeg, encode_mask
from harmony_jax.data.composites.photo_set import PhotoSet
from harmony_jax.data.composites.recipe import KINDS, Recipe
from harmony_jax.data.composites.source import PhotosSource
from harmony_jax.data.preparing.workers import made_of
from harmony_jax.disk import write_file
from harmony_jax.errors import InputError

CSV = "composites.csv"
UNREADABLE_LIST = "unreadable.txt"

_QUALITY = 95  # of JPEG
_RECORD = "record"  # folder of what is done, for the same command to continue
_ROWS = "rows.jsonl"
_SETTINGS = "settings.json"

Row = dict[str, Any]  # of the CSV


class Written(NamedTuple):
    """What lies in the folder in the end.

    Attributes:
        listed: composites in each list.
        unreadable: objects without one, and why.
    """

    listed: dict[str, int]
    unreadable: list[str]


class _Composite(NamedTuple):
    """One to be made."""

    name: str  # PHOTO_REGION_1, without an ending
    number: int  # of the object
    seed: int
    split: str  # train or test


class CompositeFolder:
    """A folder of composites to be made, as iHarmony4 has one for each subset.

    `composite_images/`, `real_images/`, `masks/`, two lists named after the folder, and
    `composites.csv` with the seed of each composite and what was done to its object.

    Args:
        photos: whose objects are recoloured.
        recipe: how.
        output: the folder.
        per_object: composites of each object.
        test_fraction: share of the photos whose composites are in the test list.
        seed: of the first composite of each object; the others have the next ones.

    Raises:
        InputError: a number that cannot be, or the folder has other composites.
    """

    def __init__(
        self,
        photos: PhotoSet,
        recipe: Recipe,
        output: Path,
        *,
        per_object: int = 1,
        test_fraction: float = 0.1,
        seed: int = 0,
    ):
        if per_object < 1:
            raise InputError(f"{per_object} composites of each object: choose 1 or more")
        if not 0 <= test_fraction < 1:
            raise InputError(f"test fraction {test_fraction}: choose 0 or more and below 1")
        if output.resolve().is_relative_to(photos.root.resolve()):
            raise InputError(f"{output}: is inside {photos.root}: choose a folder beside it")
        self._source = PhotosSource(photos, recipe)
        self._output, self._record = output, output / _RECORD
        self._composites = _planned(photos, per_object, test_fraction, seed)
        self._settings = {
            "recipe": {name: list(np.atleast_1d(v)) for name, v in vars(recipe).items()},
            "composites": [list(composite) for composite in self._composites],
        }

    def write(self, workers: int) -> Written:
        """Makes what is missing; a bar on the terminal shows the progress.

        Args:
            workers: processes; with 1 there is none but this one.

        Raises:
            InputError: the folder holds something else or cannot be written, or no object can be
                read. What is there stays, and the same call continues.
        """
        try:
            done = self._begin()
            missing = [made for made in self._composites if made.name not in done]
            make = partial(_write_one, self._source, self._output)
            bar = tqdm(
                total=len(self._composites),
                initial=len(done),
                desc="composites",
                unit="",
                disable=None,  # where there is no terminal
            )
            with bar, (self._record / _ROWS).open("a") as rows:
                for composite, row in zip(missing, made_of(missing, make, workers), strict=True):
                    done[composite.name] = row if isinstance(row, dict) else str(row)
                    # Those that failed are tried again: their files may have been mended.
                    if isinstance(row, dict):
                        rows.write(json.dumps(row) + "\n")
                        rows.flush()
                    bar.update()
            return self._finish(done)
        except OSError as error:
            raise InputError(
                f"{error.filename or self._output}: cannot be written ({error.strerror}): make "
                "room or choose another folder; the same command continues"
            ) from error

    def _begin(self) -> dict[str, Row | str]:
        """The rows of what is done, by name."""
        wanted = json.loads(json.dumps(self._settings))
        settings = self._record / _SETTINGS
        if not settings.is_file():
            if self._output.is_dir() and any(self._output.iterdir()):
                raise InputError(f"{self._output}: is not empty: choose another folder")
            write_file(settings, json.dumps(wanted).encode())
        elif json.loads(settings.read_bytes()) != wanted:
            raise InputError(
                f"{self._output}: was begun with other photos or settings: use the same, or "
                "another folder"
            )
        rows = self._record / _ROWS
        lines = rows.read_text().splitlines(keepends=True) if rows.is_file() else []
        found = [json.loads(line) for line in lines if line.endswith("\n")]
        if len(found) < len(lines):  # cut off by a kill; one more would follow on the same line
            write_file(rows, "".join(lines[:-1]).encode())
        return {Path(row["name"]).stem: row for row in found}

    def _finish(self, done: dict[str, Row | str]) -> Written:
        rows = [row for made in self._composites if isinstance(row := done[made.name], dict)]
        failed = [row for made in self._composites if isinstance(row := done[made.name], str)]
        unreadable = sorted(set(failed))
        if not rows:
            raise InputError(f"none of {len(failed)} composites can be made: {failed[0]}")
        listed = {}
        for split in ("train", "test"):
            names = [row["name"] for row in rows if row["list"] == split]
            listed[split] = len(names)
            path = self._output / f"{self._output.absolute().name}_{split}.txt"
            write_file(path, "".join(f"{name}\n" for name in names).encode())
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        write_file(self._output / CSV, table.getvalue().encode())
        report = self._output / UNREADABLE_LIST
        if unreadable:
            write_file(report, "".join(f"{text}\n" for text in unreadable).encode())
        else:
            report.unlink(missing_ok=True)
        return Written(listed, unreadable)


def _planned(
    photos: PhotoSet, per_object: int, test_fraction: float, seed: int
) -> list[_Composite]:
    names = sorted({photos.photo(index) for index in range(len(photos))})
    chosen = np.random.default_rng(seed).permutation(len(names))[
        : round(test_fraction * len(names))
    ]
    tests = {names[index] for index in chosen}
    short = _short_names(names)
    planned, regions = [], dict.fromkeys(names, 0)
    for index in range(len(photos)):
        photo = photos.photo(index)
        for variant in range(per_object):
            # Each has a mask of its own, and so its own region.
            regions[photo] += 1
            name = f"{short[photo]}_{regions[photo]}_1"
            split = "test" if photo in tests else "train"
            planned.append(_Composite(name, index, seed + variant, split))
    return planned


def _short_names(photos: Sequence[str]) -> dict[str, str]:
    """Names of photos as iHarmony4 has them, without underscores; none is given twice."""
    short: dict[str, str] = {}
    taken: set[str] = set()
    for photo in photos:
        plain = str(Path(photo).with_suffix("")).replace("/", "-").replace("_", "-")
        name, number = plain, 1
        while name in taken:
            number += 1
            name = f"{plain}-{number}"
        taken.add(name)
        short[photo] = name
    return short


def _write_one(source: PhotosSource, output: Path, composite: _Composite) -> Row:
    photo, region, _ = composite.name.split("_")
    made = source.with_seed(composite.seed)
    sample, parameters = made[composite.number], made.parameters(composite.number)
    files = {
        f"composite_images/{composite.name}.jpg": encode_jpeg(sample["composite"], _QUALITY),
        f"real_images/{photo}.jpg": encode_jpeg(sample["real"], _QUALITY),
        f"masks/{photo}_{region}.png": encode_mask(sample["mask"]),
    }
    for name, data in files.items():
        write_file(output / name, data)
    reference = int(parameters.reference)
    numbers = {
        name: [round(float(number), 4) for number in np.ravel(getattr(parameters, name))]
        for name in ("strength", "exposure", "contrast", "gamma", "light", "cells", "edge")
    }
    return {
        "name": f"{composite.name}.jpg",
        "list": composite.split,
        "object": source.name(composite.number),
        "seed": composite.seed,
        "kind": KINDS[int(parameters.kind)],
        "reference": source.name(reference) if reference >= 0 else "",
        **{name: " ".join(map(str, values)) for name, values in numbers.items()},
    }
