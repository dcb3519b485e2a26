"""What an evaluation leaves in the workdir."""

import csv
import io
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from harmony_jax.data.codecs import write_photo
from harmony_jax.disk import write_file
from harmony_jax.evaluation.html_report import write_html_report
from harmony_jax.evaluation.picture_sheet import Pictures, change_of_error, example_sheet
from harmony_jax.evaluation.tables import Table, as_markdown, as_text, evaluation_tables
from harmony_jax.workdir import keep_previous, plain

if TYPE_CHECKING:
    from harmony_jax.evaluation.evaluator import Evaluation

_LOGGER = logging.getLogger(__name__)


def write_evaluation(
    evaluation: "Evaluation",
    workdir: Path,
    stem: str,
    subject: str,
    name: str | None,
    config: ConfigDict,
    shown: dict[int, list[str]],
    pictures: Mapping[int, Pictures],
) -> None:
    """Prints the tables and writes every file; earlier ones are renamed.

    Args:
        evaluation: the result.
        workdir: where to write.
        stem: of the files' names.
        subject: what was evaluated: a checkpoint or a folder of predictions.
        name: of the model, None if unknown.
        config: how it was evaluated.
        shown: which images the report shows, and why (`choose_shown`).
        pictures: of these.
    """
    title = f"{name}, this run" if name else Path(subject).name
    iharmony4 = config.data.name == "iharmony4"
    tables = evaluation_tables(
        title,
        evaluation.model,
        evaluation.composite,
        name,
        config.data.subsets if iharmony4 else sorted({r["subset"] for r in evaluation.records}),
        published=iharmony4 and config.evaluation.split == "test",
    )
    texts = "\n\n".join(as_text(table) for table in tables)
    result = {
        "model": evaluation.model,
        "composite": evaluation.composite,
        "evaluated": subject,
        "evaluation": plain(config)["evaluation"],
        "left_out": evaluation.left_out,
    }
    heading = f"# {subject}\n\n"
    if evaluation.left_out:
        heading += f"{len(evaluation.left_out)} images could not be read and are not counted.\n\n"
    markdown = heading + "\n\n".join(as_markdown(table) for table in tables) + "\n"
    files = {
        f"{stem}.json": (json.dumps(result, indent=1) + "\n").encode(),
        f"{stem}.md": markdown.encode(),
        f"{stem}.csv": _csv([line for table in tables for line in (*_lines(table), [])]),
        f"{stem}_images.csv": records_csv(evaluation.records),
    }
    for file in (*files, f"{stem}.html", f"{stem}.png"):
        if kept := keep_previous(workdir / file):
            _LOGGER.info("%s was there already: kept as %s", workdir / file, kept)
    for file, data in files.items():
        write_file(workdir / file, data)
    if evaluation.examples:
        write_photo(workdir / f"{stem}.png", example_sheet(evaluation.examples))
    write_html_report(
        workdir / f"{stem}.html",
        f"{subject} on iHarmony4" if iharmony4 else subject,
        evaluation.records,
        shown,
        pictures,
        [(table.caption, table.header, table.rows) for table in tables],
    )
    texts += f"\n\n{change_of_error(evaluation.model, evaluation.composite)}"
    print(f"{texts}\nWritten: {workdir / stem}.json, .md, .csv, .html, .png, _images.csv")


def records_csv(records: Sequence[Mapping[str, Any]]) -> bytes:
    """One line an image, with all digits, so that reading it gives the same numbers."""
    return _csv([list(records[0]), *([*record.values()] for record in records)])


def _lines(table: Table) -> list[list[str]]:
    return [[table.caption], table.header, *table.rows]


def _csv(lines: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().encode()
