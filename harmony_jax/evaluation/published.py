"""The paper's tables, row by row: what was printed, and what to train for it (published.csv).

Numbers are over the iHarmony4 test set at 256 pixels, by "GROUP METRIC" with the groups and metrics
of `evaluation.json`: "HCOCO MSE", "All 0%-5% fMSE", "All PSNR".
"""

import ast
import csv
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, NamedTuple

from harmony_jax.errors import InputError

TEST_IMAGES = 7404  # composites that each number is the mean over

_TITLES = {
    1: "Comparison of methods on the iHarmony4 test sets",
    2: "MSE and foreground MSE by foreground ratio",
    3: "Ablation of horizontal flip, random resized crop (RRC) and FN-MSE",
    4: "Ablation of A_min in the FN-MSE loss",
    5: "Ablation of the backbone; its features go to encoder and decoder",
    6: "Ablation of where iDIH-HRNet-W18s takes the backbone's features",
}


class PaperRow(NamedTuple):
    """One printed line.

    Attributes:
        key: its name in commands, unique in its table.
        label: the method as printed, with what its table's other columns say.
        metrics: numbers as printed, by column.
        model: our name of the model, or None if we have none.
        overrides: config fields in which the experiment differs from the paper's recipe
            (configs/base.py) with this model. None: nothing to train, because the numbers are
            quoted from an earlier report or belong to released weights.
        weights: file of the ImageNet weights that its backbone starts from; empty: none.
    """

    key: str
    label: str
    metrics: Mapping[str, float]
    model: str | None
    overrides: Mapping[str, Any] | None
    weights: str


class PaperTable(NamedTuple):
    """One table of the paper; `columns` and `rows` are in the printed order."""

    number: int
    title: str
    columns: tuple[str, ...]
    rows: tuple[PaperRow, ...]

    def experiment_rows(self) -> list[PaperRow]:
        """The rows that can be trained."""
        return [row for row in self.rows if row.overrides is not None]

    def find(self, key: str) -> PaperRow:
        """The row to train by this name."""
        rows = {row.key: row for row in self.experiment_rows()}
        if key not in rows:
            raise InputError(f"table {self.number} has no row {key!r}: choose {', '.join(rows)}")
        return rows[key]


def find_table(number: int) -> PaperTable:
    """The paper's table of this number."""
    if number not in TABLES:
        raise InputError(f"table {number}: choose one of {', '.join(map(str, TABLES))}")
    return TABLES[number]


def rows_for(model: str) -> list[PaperRow]:
    """Published rows to print beside an evaluation of a model, by subset (columns of table 1).

    The model's own rows come first: the paper's, then that of the released weights. For models that
    table 1 lacks, the paper has numbers of the whole set only. The other rows of table 1 follow.
    """
    whole_set = (
        TABLES[3].find("is2am_flip_crop_fn_mse"),
        *TABLES[5].rows[1:],  # the first one is in table 1
        TABLES[6].find("encoder_imagenet"),  # as released
    )
    own = [row for row in (*TABLES[1].rows, *whole_set, *RELEASED) if row.model == model]
    return own + [row for row in TABLES[1].rows if row.model != model]


def ratio_rows_for(model: str) -> list[PaperRow]:
    """The same by foreground ratio: rows of table 2, the model's own first."""
    return sorted(TABLES[2].rows, key=lambda row: row.model != model)


def _read(table: str) -> tuple[PaperRow, ...]:
    """The rows of the CSV that belong to a table; its other columns are metrics."""
    lines = (files("harmony_jax.evaluation") / "published.csv").read_text().splitlines()
    rows = []
    for line in csv.DictReader(lines):
        if line.pop("table") != table:
            continue
        pairs = (field.split("=") for field in line.pop("fields").split())
        overrides = {name: ast.literal_eval(value) for name, value in pairs}
        row = PaperRow(
            key=line.pop("row"),
            label=line.pop("label"),
            model=line.pop("model") or None,
            overrides=overrides if line.pop("kind") == "trained" else None,
            weights=line.pop("imagenet"),
            metrics={column: float(number) for column, number in line.items() if number},
        )
        rows.append(row)
    return tuple(rows)


def _table(number: int) -> PaperTable:
    rows = _read(str(number))
    return PaperTable(number, _TITLES[number], tuple(rows[0].metrics), rows)


TABLES: dict[int, PaperTable] = {number: _table(number) for number in _TITLES}

# The released code's own report (README of saic-vul/image_harmonization).
RELEASED = _read("released")
