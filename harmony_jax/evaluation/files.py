"""What an evaluation leaves in the workdir."""

import csv
import io
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from harmony_jax.data.codecs import write_photo
from harmony_jax.disk import encoded, write_file
from harmony_jax.evaluation.evaluator import Evaluation
from harmony_jax.evaluation.html_report import Shown, write_html_report
from harmony_jax.evaluation.picture_sheet import example_sheet
from harmony_jax.evaluation.tables import (
    as_markdown,
    as_text,
    change_of_error,
    evaluation_tables,
    joined,
)
from harmony_jax.workdir import keep_previous, plain

_LOGGER = logging.getLogger(__name__)


def write_evaluation(
    evaluation: Evaluation,
    place: str,
    model: str | None,
    config: ConfigDict,
    target: Path,
    shown: Mapping[int, Shown],
) -> None:
    """Prints the tables and writes every file; earlier ones are renamed.

    Args:
        place: of what was evaluated, a checkpoint or a folder of predictions.
        model: its name (`create_model`); None if unknown.
        target: the files' path, to which their endings are added.
        shown: the images that the report shows.
    """
    subsets = list(dict.fromkeys(image["subset"] for image in evaluation.per_image))
    tables = evaluation_tables(
        f"{model}, this run" if model else Path(place).name,
        evaluation.model,
        evaluation.composite,
        model,
        subsets,
        published=bool(evaluation.data_set) and config.evaluation.split == "test",
    )
    result = {
        "model": evaluation.model,
        "composite": evaluation.composite,
        "evaluated": place,
        "evaluation": plain(config)["evaluation"],
        "left_out": evaluation.left_out,
    }
    parts = [f"# {place}", f"Evaluated at {how(config)}.", *map(as_markdown, tables)]
    if evaluation.left_out:
        parts.insert(1, f"{len(evaluation.left_out)} images could not be read and are not counted.")
    files = {
        ".json": (json.dumps(result, indent=1) + "\n").encode(),
        ".md": encoded("\n\n".join(parts) + "\n"),
        ".csv": csv_bytes(joined(tables)),
        "_images.csv": image_metrics_csv(evaluation.per_image),
    }
    paths = {e: target.with_name(target.name + e) for e in (*files, ".html", ".png")}
    for path in paths.values():
        if kept := keep_previous(path):
            _LOGGER.info("%s was there already: kept as %s", path, kept)
    for ending, data in files.items():
        write_file(paths[ending], data)
    if evaluation.examples:
        write_photo(paths[".png"], example_sheet(evaluation.examples))
    title = f"{place} on {evaluation.data_set or ', '.join(subsets)} at {how(config)}"
    write_html_report(paths[".html"], title, evaluation.per_image, shown, tables)
    print("\n\n".join(map(as_text, tables)))
    print(f"\nEvaluated at {how(config)}.")
    print(change_of_error(evaluation.model, evaluation.composite))
    print(f"Written: {target}.json, .md, .csv, .html, .png, _images.csv")


def how(config: ConfigDict) -> str:
    """In words, at which size pictures are evaluated, and whether mirror images are averaged in."""
    evaluation = config.evaluation
    side = evaluation.image_size or config.data.image_size
    size = {
        "square": f"{side} x {side} pixels",
        "longest": f"up to {evaluation.longest_side} pixels a side",
        "none": "the photos' own sizes",
    }[evaluation.resize]
    return f"{size}, with mirror images" if evaluation.flip else size


def image_metrics_csv(per_image: Sequence[Mapping[str, Any]]) -> bytes:
    """One line an image, with all digits, so that reading it gives the same numbers."""
    return csv_bytes([list(per_image[0]), *([*image.values()] for image in per_image)])


def csv_bytes(lines: Sequence[Sequence[Any]]) -> bytes:
    """Lines of cells as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return encoded(text.getvalue())
