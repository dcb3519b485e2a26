"""Writes composites of photos to disk, in iHarmony4's layout, and continues where it stopped."""

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
from harmony_jax.data.composites.recipe import KINDS
from harmony_jax.data.composites.source import PhotosSource
from harmony_jax.data.preparing.report import list_unreadable, writing
from harmony_jax.data.worker_processes import made_of
from harmony_jax.disk import encoded, write_file
from harmony_jax.errors import InputError

CSV = "composites.csv"

_QUALITY = 95  # JPEG
_RECORD = "record"  # folder of what the same command needs to continue
_SETTINGS = "settings.json"
_AT_A_TIME = 16  # composites that a process gets
_ROWS = "rows.jsonl"  # of the composites that are done

Row = dict[str, Any]  # of the CSV


class Written(NamedTuple):
    """What a folder of composites holds."""

    listed: dict[str, int]  # composites in each list
    unreadable: list[str]  # why objects have no composite


class _Composite(NamedTuple):
    name: str  # PHOTO_REGION_1, without an ending
    number: int  # of the object
    seed: int
    split: str  # train or test


def write_composites(
    source: PhotosSource,
    output: Path,
    *,
    per_object: int = 1,
    test_fraction: float = 0.1,
    seed: int = 0,
    workers: int = 1,
) -> Written:
    """Writes a folder of composites, laid out like one subset of iHarmony4, or what it lacks.

    It gets `composite_images/`, `real_images/`, `masks/`, two lists named after the folder, and
    `composites.csv` with each composite's seed and what was done to its object. Interrupted at any
    moment, the same call continues. A bar on the terminal shows the progress.

    Args:
        source: the objects, and how they are recoloured.
        output: the folder.
        per_object: composites of each object, with `seed` and the following numbers.
        test_fraction: share of the photos whose composites are in the test list.
        seed: of each object's first composite.
        workers: processes; 1: only this one.
    """
    if per_object < 1:
        raise InputError(f"{per_object} composites of each object: choose 1 or more")
    if not 0 <= test_fraction < 1:
        raise InputError(f"test fraction {test_fraction}: choose 0 or more and below 1")
    if workers < 1:
        raise InputError(f"workers {workers}: choose 1 or more")
    if output.resolve().is_relative_to(source.root.resolve()):
        raise InputError(f"{output}: is inside {source.root}: choose a folder beside it")
    composites = _planned(source, per_object, test_fraction, seed)
    settings = {
        "recipe": {name: list(np.atleast_1d(value)) for name, value in vars(source.recipe).items()},
        "composites": composites,
    }
    with writing(output):
        done = _begin(output, settings)
        unreadable = _write_missing(source, output, composites, done, workers)
        rows = [done[composite.name] for composite in composites if composite.name in done]
        if not rows:
            raise InputError(f"none of {len(composites)} composites can be made: {unreadable[0]}")
        return _finish(output, rows, unreadable)


def _planned(
    source: PhotosSource, per_object: int, test_fraction: float, seed: int
) -> list[_Composite]:
    names = sorted({source.photo(index) for index in range(len(source))})
    count = round(test_fraction * len(names))
    chosen = np.random.default_rng(seed).permutation(len(names))[:count]
    tests = {names[index] for index in chosen}
    short = _short_names(names)
    planned, regions = [], dict.fromkeys(names, 0)
    for index in range(len(source)):
        photo = source.photo(index)
        for variant in range(per_object):
            regions[photo] += 1  # each composite has a mask of its own
            name = f"{short[photo]}_{regions[photo]}_1"
            split = "test" if photo in tests else "train"
            planned.append(_Composite(name, index, seed + variant, split))
    return planned


def _short_names(photos: Sequence[str]) -> dict[str, str]:
    """Unique names of photos without underscores, as in iHarmony4, fit for a line of a list."""
    short: dict[str, str] = {}
    taken: set[str] = set()
    for photo in photos:
        letters = str(Path(photo).with_suffix("")).strip()
        plain = "".join(c if c.isprintable() and c not in "/\\_" else "-" for c in letters)
        name, number = plain, 1
        while name in taken:
            number += 1
            name = f"{plain}-{number}"
        taken.add(name)
        short[photo] = name
    return short


def _begin(output: Path, settings: dict[str, Any]) -> dict[str, Row]:
    """Makes the folder, or checks that it was begun alike; the rows that are done, by name."""
    path, wanted = output / _RECORD / _SETTINGS, json.dumps(settings)
    if not path.is_file():
        if output.is_dir() and any(output.iterdir()):
            raise InputError(f"{output}: is not empty: choose another folder")
        write_file(path, wanted.encode())
    elif json.loads(path.read_bytes()) != json.loads(wanted):
        raise InputError(
            f"{output}: was begun with other photos or settings: use the same, or another folder"
        )
    path = output / _RECORD / _ROWS
    lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    if lines and not lines[-1].endswith("\n"):  # cut off by a kill
        write_file(path, "".join(lines[:-1]).encode())
        lines.pop()
    return {Path(row["name"]).stem: row for row in map(json.loads, lines)}


def _write_missing(
    source: PhotosSource,
    output: Path,
    composites: list[_Composite],
    done: dict[str, Row],
    workers: int,
) -> list[str]:
    """Makes the composites that are not done yet, and adds their rows; returns what failed."""
    missing = [composite for composite in composites if composite.name not in done]
    outcomes = made_of(missing, partial(_write_one, source, output), workers, _AT_A_TIME)
    failed = set()
    bar = tqdm(desc="composites", initial=len(done), total=len(composites), unit="", disable=None)
    with bar, (output / _RECORD / _ROWS).open("a") as rows:
        for composite, row in zip(missing, outcomes, strict=True):
            bar.update()
            if isinstance(row, str):
                failed.add(row)
                continue
            done[composite.name] = row
            rows.write(json.dumps(row) + "\n")
            rows.flush()
    return sorted(failed)


def _write_one(source: PhotosSource, output: Path, composite: _Composite) -> Row | str:
    """The row of a composite, or the reason why it cannot be made."""
    photo, region, _ = composite.name.split("_")
    made = source.with_seed(composite.seed)
    try:
        sample, parameters = made[composite.number], made.parameters(composite.number)
    except InputError as error:
        return str(error)
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


def _finish(output: Path, rows: list[Row], unreadable: list[str]) -> Written:
    listed = {}
    for split in ("train", "test"):
        names = [row["name"] for row in rows if row["list"] == split]
        listed[split] = len(names)
        path = output / f"{output.absolute().name}_{split}.txt"
        write_file(path, "".join(f"{name}\n" for name in names).encode())
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_file(output / CSV, encoded(table.getvalue()))
    list_unreadable(output, unreadable)
    return Written(listed, unreadable)
