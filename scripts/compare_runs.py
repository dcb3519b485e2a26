"""Shows which images got better or worse between two evaluations, and what may be chance.

    python scripts/compare_runs.py A B [--metric=fMSE] [--show=10] [--csv=FILE]

A and B are workdirs that were evaluated, or their *_images.csv files, on the same images.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from harmony_jax.command_line import Parser, errors_in_one_line
from harmony_jax.disk import write_file
from harmony_jax.errors import InputError
from harmony_jax.evaluation.comparison import check_alike, compare, pair_images, read_image_metrics
from harmony_jax.evaluation.files import csv_bytes
from harmony_jax.evaluation.metrics import LARGER_IS_BETTER, METRICS, ImageMetrics
from harmony_jax.evaluation.tables import TextTable, as_text


@errors_in_one_line()
def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the comparison."""
    options = _parse(arguments)
    a, b = read_image_metrics(options.a), read_image_metrics(options.b)
    check_alike(options.a, options.b)
    pairs = pair_images(a, b, (str(options.a), str(options.b)))
    metric = options.metric
    if not all(metric in image for image in pairs[0]):
        raise InputError(f"--metric {metric}: not in both evaluations: choose another")
    print(f"A: {options.a}\nB: {options.b}\n")
    rows = [
        [
            *(found.group, str(found.images), found.metric),
            *(f"{found.a:.4f}", f"{found.b:.4f}", f"{found.difference:+.4f}"),
            f"[{found.low:+.4f}, {found.high:+.4f}]" if found.images > 1 else "-",
            "*" if found.is_sure else "",
        ]
        for found in compare(pairs)
    ]
    header = ["", "N", "", "A", "B", "B - A", "95 % interval", ""]
    print(as_text(TextTable("", header, rows)))
    print("* the interval does not contain 0")
    ranked = sorted(pairs, key=lambda pair: _gain(pair, options.metric))
    better = [pair for pair in reversed(ranked) if _gain(pair, options.metric) > 0]
    worse = [pair for pair in ranked if _gain(pair, options.metric) < 0]
    for title, found_pairs in (("better", better), ("worse", worse)):
        print(f"\n{len(found_pairs)} images got {title} by {options.metric}; the most:")
        for old, new in found_pairs[: options.show]:
            print(
                f"  {old['subset']}/{old['name']}: {old[options.metric]:.3f} -> "
                f"{new[options.metric]:.3f}"
            )
    if options.csv:
        write_file(options.csv, _csv(pairs))
        print(f"\nWritten: {options.csv}")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("a", type=Path, metavar="A")
    parser.add_argument("b", type=Path, metavar="B")
    parser.add_argument("--metric", choices=METRICS, default="fMSE", help="ranks the images")
    parser.add_argument("--show", type=int, default=10, help="images to list at each end")
    parser.add_argument("--csv", type=Path, help="file for the differences of all images")
    return parser.parse_args(arguments)


def _gain(pair: tuple[ImageMetrics, ImageMetrics], metric: str) -> float:
    """How much better B is."""
    difference = pair[1][metric] - pair[0][metric]
    return difference if metric in LARGER_IS_BETTER else -difference


def _csv(pairs: Sequence[tuple[ImageMetrics, ImageMetrics]]) -> bytes:
    metrics = [metric for metric in METRICS if all(metric in image for image in pairs[0])]
    columns = [f"{metric}_{side}" for metric in metrics for side in ("A", "B", "difference")]
    lines = [["subset", "name", "foreground_ratio", *columns]]
    for a, b in pairs:
        cells = [value for m in metrics for value in (a[m], b[m], b[m] - a[m])]
        lines.append([a["subset"], a["name"], a["foreground_ratio"], *cells])
    return csv_bytes(lines)


if __name__ == "__main__":
    main()
