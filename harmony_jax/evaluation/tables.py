"""Means of an evaluation as tables: the paper's 1 and 2 with published rows, and a short one."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from harmony_jax.evaluation.metrics import METRICS, RATIO_RANGES, Summary, range_name
from harmony_jax.evaluation.published import ratio_rows_for, rows_for


class TextTable(NamedTuple):
    """Cells as text; the first column says whose numbers a row has."""

    caption: str
    header: list[str]
    rows: list[list[str]]


_PUBLISHED = ". Published rows are of all 7,404 test images at their networks' size"


def evaluation_tables(
    title: str,
    model: Summary,
    composite: Summary,
    name: str | None,
    subsets: Sequence[str],
    *,
    published: bool = True,
) -> list[TextTable]:
    """MSE, PSNR and SSIM by subset, and MSE and fMSE by foreground ratio.

    Args:
        title: of the evaluated model's row.
        model, composite: means, the composites' being those of no harmonization.
        name: of the model (`create_model`), whose published rows come first; None if unknown.
        subsets: columns of the first table, besides all images together.
        published: whether published rows are of the same set, and so belong beside these.
    """
    by_subset_rows = rows_for(name or "") if published else []
    by_ratio_rows = ratio_rows_for(name or "") if published else []
    note = _PUBLISHED if published else ""
    found = {title: model, "composite, unchanged": composite}
    groups = [group for group in (*subsets, "All") if group in model]
    columns = [f"{group} {metric}" for group in groups for metric in ("MSE", "PSNR")]
    names = [range_name(*bounds) for bounds in RATIO_RANGES if bounds != (0.0, 1.0)]
    ranges = [group for group in (*names, "All") if group in model]
    by_ratio = [f"{group} {metric}" for group in ranges for metric in ("MSE", "fMSE")]
    return [
        TextTable(
            f"By subset. Images: {_counts(model, groups)}{note}",
            ["method", *columns, "All SSIM"],
            [
                *([label, *_cells(_flat(s), [*columns, "All SSIM"])] for label, s in found.items()),
                *([row.label, *_cells(row.metrics, columns), ""] for row in by_subset_rows),
            ],
        ),
        TextTable(
            f"By foreground ratio. Images: {_counts(model, ranges)}{_missing(names, model)}{note}",
            ["method", *by_ratio],
            [
                *([label, *_cells(_flat(s), by_ratio)] for label, s in found.items()),
                *([r.label, *_cells(r.metrics, by_ratio)] for r in by_ratio_rows),
            ],
        ),
    ]


def comparison_table(model: Summary, composite: Summary) -> str:
    """Two results side by side, a line a group (`harmony_jax.evaluation.metrics.summarize`)."""
    width = max(len(name) for name in model)
    with_ssim = all("SSIM" in row["All"] for row in (model, composite))
    half = f"{'MSE':>9} {'fMSE':>9} {'PSNR':>7}" + (f" {'SSIM':>7}" if with_ssim else "")
    lines = [
        f"{'':{width}} {'':>6}   {'composite':^{len(half)}}   {'model':^{len(half)}}",
        f"{'':{width}} {'N':>6}   {half}   {half}",
    ]
    for name, ours in model.items():
        cells = [
            f"{row['MSE']:9.2f} {row['fMSE']:9.2f} {row['PSNR']:7.2f}"
            + (f" {row['SSIM']:7.4f}" if with_ssim else "")
            for row in (composite[name], ours)
        ]
        lines.append(f"{name:{width}} {ours['N']:6.0f}   {cells[0]}   {cells[1]}")
    return "\n".join([*lines, change_of_error(model, composite)])


def change_of_error(model: Summary, composite: Summary) -> str:
    """One sentence that says what harmonizing gained."""
    change = model["All"]["MSE"] / composite["All"]["MSE"] - 1
    return f"The model's MSE over all images is {change:+.1%} against the composite's."


def as_text(table: TextTable) -> str:
    """For a terminal: a line a row, the columns aligned."""
    lines = [table.header, *table.rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(table.header))]
    texts = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([table.caption, *texts])


def as_markdown(table: TextTable) -> str:
    """With the caption above it."""
    rule = ["---", *["---:"] * (len(table.header) - 1)]
    lines = ["| " + " | ".join(line) + " |" for line in (table.header, rule, *table.rows)]
    return "\n".join([table.caption, "", *lines])


def _flat(summary: Summary) -> dict[str, float]:
    return {
        f"{group} {metric}": value
        for group, metrics in summary.items()
        for metric, value in metrics.items()
    }


def _cells(values: Mapping[str, float], columns: Sequence[str]) -> list[str]:
    return [
        f"{values[column]:.{METRICS[column.rsplit(' ', 1)[1]]}f}" if column in values else ""
        for column in columns
    ]


def _missing(groups: Sequence[str], summary: Summary) -> str:
    """Says which ranges have no image, and so no column."""
    empty = [group for group in groups if group not in summary]
    return f"; none in {', '.join(empty)}" if empty else ""


def _counts(summary: Summary, groups: Sequence[str]) -> str:
    return ", ".join(f"{group} {summary[group]['N']:.0f}" for group in groups)
