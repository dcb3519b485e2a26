"""A table of the paper with our results under the published ones."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from harmony_jax.disk import write_file
from harmony_jax.errors import InputError
from harmony_jax.evaluation.published import TEST_IMAGES, PaperRow, PaperTable
from harmony_jax.workdir import plain

# A row's number tells of the published one only as far as these sections are the row's ...
_DECISIVE = ("model", "data", "loss", "optimizer", "seed", "train", "evaluation")
# ... but for where the data is, and what changes no number.
_INDIFFERENT = (
    "data.root",
    "data.num_workers",
    "data.unreadable",
    "train.log_every_steps",
    "train.recompute",
    "evaluation.batch_size",
    "evaluation.num_pictures",
)
_EMPTY = "-"


class Result(NamedTuple):
    """What came of a row's training.

    Attributes:
        workdir: the training's.
        metrics: by the table's columns; those of absent subsets are absent.
        images: how many were evaluated.
        notes: in what the training differs from the row, each a few words.
    """

    workdir: Path
    metrics: dict[str, float]
    images: int
    notes: list[str]


def read_result(table: PaperTable, workdir: Path, config: ConfigDict) -> Result | None:
    """Reads `evaluation.json`, and `config.json` where there is one.

    Args:
        table: whose columns to take.
        workdir: a row's.
        config: the row's as published.

    Returns:
        None if the row has not been evaluated.

    Raises:
        InputError: the files are not those of an evaluation.
    """
    if not (workdir / "evaluation.json").exists():
        return None
    groups = _read(workdir / "evaluation.json").get("model", {})
    metrics = {}
    for column in table.columns:
        group, metric = column.rsplit(" ", 1)
        if metric in groups.get(group, {}):
            metrics[column] = float(groups[group][metric])
    images = int(groups.get("All", {}).get("N", 0))
    notes = []
    if (workdir / "config.json").exists():
        notes = differences(_read(workdir / "config.json").get("config", {}), plain(config))
    if images != TEST_IMAGES:
        notes.append(f"{images:,} test images instead of {TEST_IMAGES:,}")
    return Result(workdir, metrics, images, notes)


def differences(found: Mapping[str, Any], published: Mapping[str, Any]) -> list[str]:
    """Fields of a recorded config that decide its result and are not the published row's."""
    notes = []
    for section in _DECISIVE:
        wanted = published[section]
        fields = wanted if isinstance(wanted, dict) else {"": wanted}
        there = found.get(section, {})
        for field, value in fields.items():
            name = f"{section}.{field}" if field else section
            other = there.get(field, value) if isinstance(wanted, dict) else there
            if other != value and name not in _INDIFFERENT:
                notes.append(f"{name} {other}" + ("" if value is None else f" instead of {value}"))
    return notes


def table_text(table: PaperTable, results: Mapping[str, Result]) -> str:
    """For the terminal: each row as published, and ours under it; then in what ours differ.

    Args:
        table: the paper's.
        results: ours, by the rows' keys.
    """
    names = [name for row in table.rows for name in (row.label, f"  {row.key}")]
    width = max(map(len, names))
    groups = [column.rsplit(" ", 1)[0] for column in table.columns]
    shown = ["" if group in groups[:i] else group for i, group in enumerate(groups)]
    widths = [max(8, len(group)) for group in shown]
    header = [
        f"{'':{width}}        {_cells(shown, widths)}",
        f"{'':{width}}        {_cells([c.rsplit(' ', 1)[1] for c in table.columns], widths)}",
    ]
    lines = [
        f"{name:{width}}  {source:5} {_cells(cells, widths)}"
        for row in table.rows
        for name, source, cells in _lines(table, row, results, indent="  ")
    ]
    return "\n".join([f"Table {table.number}. {table.title}", *header, *lines, *_notes(results)])


def table_markdown(table: PaperTable, results: Mapping[str, Result]) -> str:
    """The same as Markdown."""
    lines = [
        f"| {' | '.join([name, source, *cells])} |"
        for row in table.rows
        for name, source, cells in _lines(table, row, results)
    ]
    notes = [f"- {note}" for note in _notes(results)]
    return "\n".join(
        [
            f"# Table {table.number}: {table.title}",
            "",
            f"| {' | '.join(['row', '', *table.columns])} |",
            f"| --- | --- |{' ---: |' * len(table.columns)}",
            *lines,
            *(["", *notes] if notes else []),
            "",
        ]
    )


def table_json(table: PaperTable, results: Mapping[str, Result]) -> dict[str, Any]:
    """The same as JSON: `rows` with `published` and `ours` (None: not evaluated), by column."""
    rows = []
    for row in table.rows:
        entry: dict[str, Any] = {"row": row.key, "label": row.label, "model": row.model}
        entry |= {"published": dict(row.metrics), "ours": None}
        if result := results.get(row.key):
            entry |= {"ours": result.metrics, "images": result.images, "notes": result.notes}
            entry["workdir"] = str(result.workdir)
        rows.append(entry)
    return {
        "table": table.number,
        "title": table.title,
        "columns": list(table.columns),
        "rows": rows,
    }


def write_table(table: PaperTable, results: Mapping[str, Result], folder: Path) -> list[Path]:
    """Writes `tableN.md` and `tableN.json`.

    Raises:
        InputError: the folder cannot be written.
    """
    markdown, data = (folder / f"table{table.number}{ending}" for ending in (".md", ".json"))
    write_file(markdown, table_markdown(table, results).encode())
    write_file(data, (json.dumps(table_json(table, results), indent=1) + "\n").encode())
    return [markdown, data]


def _lines(
    table: PaperTable, row: PaperRow, results: Mapping[str, Result], indent: str = ""
) -> list[tuple[str, str, list[str]]]:
    """A row's one or two lines: name, source and numbers. An earlier report has no line of ours."""
    lines = [(row.label, "paper", _numbers(table, row.metrics))]
    if row.overrides is not None:
        ours = results[row.key].metrics if row.key in results else {}
        lines.append((indent + row.key, "ours", _numbers(table, ours)))
    return lines


def _numbers(table: PaperTable, metrics: Mapping[str, float]) -> list[str]:
    return [f"{metrics[c]:.2f}" if c in metrics else _EMPTY for c in table.columns]


def _cells(cells: Sequence[str], widths: Sequence[int]) -> str:
    return " ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _notes(results: Mapping[str, Result]) -> list[str]:
    """What the rows' notes say, once for all rows with the same ones."""
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
