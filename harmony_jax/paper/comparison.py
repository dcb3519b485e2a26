"""A table of the paper with our results under the published ones."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from harmony_jax.disk import write_file
from harmony_jax.errors import InputError
from harmony_jax.evaluation.published import TEST_IMAGES, PaperTable
from harmony_jax.evaluation.tables import TextTable, as_markdown, as_text, flatten, numbers
from harmony_jax.workdir import plain

# The sections that decide a result ...
_DECISIVE = ("model", "data", "loss", "optimizer", "seed", "train", "evaluation")
# ... but for these fields.
_INDIFFERENT = (
    "data.root",
    "data.num_workers",
    "data.unreadable",
    "train.log_every_steps",
    "train.recompute",
    "evaluation.batch_size",
    "evaluation.num_pictures",
)


class Result(NamedTuple):
    """What came of a row's training.

    Attributes:
        workdir: the training's.
        metrics: by the table's columns, where the evaluation has them.
        images: how many were evaluated.
        notes: how the training differs from the published row, each a few words.
    """

    workdir: Path
    metrics: dict[str, float]
    images: int
    notes: list[str]


def read_result(table: PaperTable, workdir: Path, config: ConfigDict) -> Result | None:
    """Reads a row's `evaluation.json`, and `config.json` to compare with the published config.

    None if the row has not been evaluated.
    """
    if not (workdir / "evaluation.json").exists():
        return None
    found = flatten(_read(workdir / "evaluation.json").get("model", {}))
    images = int(found.get("All N", 0))
    notes = []
    if (workdir / "config.json").exists():
        notes = differences(_read(workdir / "config.json").get("config", {}), plain(config))
    if images != TEST_IMAGES:
        notes.append(f"{images:,} test images instead of {TEST_IMAGES:,}")
    metrics = {column: found[column] for column in table.columns if column in found}
    return Result(workdir, metrics, images, notes)


def differences(found: Mapping[str, Any], published: Mapping[str, Any]) -> list[str]:
    """Fields of a recorded config that decide its result and differ from the published row's."""
    notes = []
    for section in _DECISIVE:
        wanted, there = published[section], found.get(section, {})
        if not isinstance(wanted, dict):
            wanted, there = {"": wanted}, {"": there}
        for field, value in wanted.items():
            name = f"{section}.{field}" if field else section
            other = there.get(field, value)
            if other != value and name not in _INDIFFERENT:
                notes.append(f"{name} {other}" + ("" if value is None else f" instead of {value}"))
    return notes


def table_text(table: PaperTable, results: Mapping[str, Result]) -> str:
    """For the terminal: each row as published, ours (by its key) under it, and how ours differ."""
    return "\n".join([as_text(_beside(table, results)), *_notes(results)])


def write_table(table: PaperTable, results: Mapping[str, Result], folder: Path) -> list[Path]:
    """Writes `tableN.md`, and `tableN.json` with `published` and `ours` (null: not evaluated)."""
    rows = []
    for row in table.rows:
        entry: dict[str, Any] = {"row": row.key, "label": row.label, "model": row.model}
        entry |= {"published": dict(row.metrics), "ours": None}
        if result := results.get(row.key):
            entry |= {"ours": result.metrics, "images": result.images, "notes": result.notes}
            entry["workdir"] = str(result.workdir)
        rows.append(entry)
    data = {"table": table.number, "title": table.title, "columns": table.columns, "rows": rows}
    notes = "".join(f"- {note}\n" for note in _notes(results))
    text = f"# {as_markdown(_beside(table, results))}\n" + (f"\n{notes}" if notes else "")
    written = [folder / f"table{table.number}{ending}" for ending in (".md", ".json")]
    write_file(written[0], text.encode())
    write_file(written[1], (json.dumps(data, indent=1) + "\n").encode())
    return written


def _beside(table: PaperTable, results: Mapping[str, Result]) -> TextTable:
    """Each row as published, then ours; a row that is not to be trained has none of ours."""
    rows = []
    for row in table.rows:
        rows.append([row.label, "paper", *numbers(row.metrics, table.columns, "-")])
        if row.overrides is not None:
            ours = results[row.key].metrics if row.key in results else {}
            rows.append([f"  {row.key}", "ours", *numbers(ours, table.columns, "-")])
    return TextTable(f"Table {table.number}. {table.title}", ["row", "", *table.columns], rows)


def _notes(results: Mapping[str, Result]) -> list[str]:
    """The rows' notes, each once for all rows that share it."""
    rows: dict[str, list[str]] = {}
    for key, result in results.items():
        if result.notes:
            rows.setdefault(", ".join(result.notes), []).append(key)
    return [f"Ours of {', '.join(keys)}: {text}" for text, keys in rows.items()]


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error}): evaluate it again") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: holds no result: evaluate it again")
    return found
