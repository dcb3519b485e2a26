"""Tables of numbers as text and Markdown, and those of an evaluation."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from harmony_jax.evaluation.metrics import METRICS, RATIO_RANGES, Summary, range_name
from harmony_jax.evaluation.published import ratio_rows_for, rows_for


class TextTable(NamedTuple):
    """Cells as text; the first column says whose numbers a row has."""

    caption: str
    header: list[str]
    rows: list[list[str]]


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
        model, composite: means of the model's images, and of the composites unchanged.
        name: of the model (`create_model`), whose published rows come first; None if unknown.
        subsets: columns of the first table, besides all images together.
        published: whether to add published rows, because they are of the same set.
    """
    ranges = [range_name(*bounds) for bounds in RATIO_RANGES if bounds != (0.0, 1.0)]
    absent = [group for group in ranges if group not in model]
    ours = {title: flatten(model), "composite, unchanged": flatten(composite)}

    def table(kind: str, groups: Sequence[str], metrics: Sequence[str], rows: list) -> TextTable:
        present = [group for group in (*groups, "All") if group in model]
        columns = [f"{group} {metric}" for group in present for metric in metrics]
        columns += ["All SSIM"] if groups is subsets else []
        counts = ", ".join(f"{group} {model[group]['N']:.0f}" for group in present)
        missing = f"; none in {', '.join(absent)}" if absent and groups is ranges else ""
        note = ". Published rows are of all 7,404 test images at their networks' size"
        found = ours | ({row.label: row.metrics for row in rows} if published else {})
        return TextTable(
            f"By {kind}. Images: {counts}{missing}{note if published else ''}",
            ["method", *columns],
            [[label, *numbers(values, columns)] for label, values in found.items()],
        )

    return [
        table("subset", subsets, ("MSE", "PSNR"), rows_for(name or "")),
        table("foreground ratio", ranges, ("MSE", "fMSE"), ratio_rows_for(name or "")),
    ]


def joined(tables: Sequence[TextTable]) -> list[list[str]]:
    """One table of the columns of all, without captions: its header and a line for each method."""
    cells: dict[str, dict[str, str]] = {}
    for table in tables:
        for row in table.rows:
            cells.setdefault(row[0], {}).update(zip(table.header, row, strict=True))
    header = list(dict.fromkeys(name for table in tables for name in table.header))
    return [header, *([row.get(name, "") for name in header] for row in cells.values())]


def comparison_table(model: Summary, composite: Summary) -> str:
    """Two results side by side, a line a group (`harmony_jax.evaluation.metrics.summarize`)."""
    metrics = [metric for metric in METRICS if metric in model["All"]]
    rows = [
        [group, f"{means['N']:.0f}", *numbers(composite[group], metrics), *numbers(means, metrics)]
        for group, means in model.items()
    ]
    header = ["", "N", *(f"{side} {name}" for side in ("composite", "model") for name in metrics)]
    return f"{as_text(TextTable('', header, rows))}\n{change_of_error(model, composite)}"


def change_of_error(model: Summary, composite: Summary) -> str:
    """One sentence that says what harmonizing gained."""
    before, after = composite["All"]["MSE"], model["All"]["MSE"]
    change = f"{after / before - 1:+.1%}" if before else "-"  # composites equal to the real photos
    return f"The model's MSE over all images is {change} against the composite's."


def as_text(table: TextTable) -> str:
    """For a terminal: a line a row, the columns aligned.

    Headings such as "HCOCO MSE" are set in two lines, the group once above its metrics.
    """
    groups, names = [], []
    for heading in table.header:
        group, _, metric = heading.rpartition(" ")
        groups.append(group if metric in METRICS else "")
        names.append(metric if metric in METRICS else heading)
    shown = ["" if group in groups[:i] else group for i, group in enumerate(groups)]
    lines = [*([shown] if any(shown) else []), names, *table.rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(table.header))]
    texts = [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([*([table.caption] if table.caption else []), *texts])


def as_markdown(table: TextTable) -> str:
    """With the caption above it."""
    rule = ["---", *["---:"] * (len(table.header) - 1)]
    lines = [
        "| " + " | ".join(map(str.strip, line)) + " |" for line in (table.header, rule, *table.rows)
    ]
    return "\n".join([table.caption, "", *lines])


def flatten(summary: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The same numbers by "GROUP METRIC"."""
    return {f"{group} {name}": value for group, of in summary.items() for name, value in of.items()}


def numbers(values: Mapping[str, float], columns: Sequence[str], missing: str = "") -> list[str]:
    """A cell for each column, with the decimals of the metric that the column's name ends with."""
    return [
        f"{values[column]:.{METRICS[column.rpartition(' ')[2]]}f}" if column in values else missing
        for column in columns
    ]
