"""Says which images of an evaluation got better and worse, and whether the difference is chance.

    python scripts/compare_runs.py A B [--metric=fMSE] [--show=10] [--csv=FILE]

A and B are workdirs that were evaluated, or their *_images.csv files, on the same images.
"""

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from harmony_jax.command_line import Parser
from harmony_jax.disk import write_file
from harmony_jax.errors import InputError
from harmony_jax.evaluation.comparison import compare, pair_images, read_image_metrics
from harmony_jax.evaluation.metrics import METRICS, ImageMetrics

_LARGER_IS_BETTER = ("PSNR", "SSIM")


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the comparison; a mistake ends in one line and exit status 1."""
    try:
        _run(_parse(arguments))
    except InputError as error:
        sys.exit(f"error: {error}")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("a", type=Path, metavar="A")
    parser.add_argument("b", type=Path, metavar="B")
    parser.add_argument("--metric", choices=METRICS, default="fMSE", help="ranks the images")
    parser.add_argument("--show", type=int, default=10, help="images to list at each end")
    parser.add_argument("--csv", type=Path, help="file for the differences of all images")
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace) -> None:
    a, b = read_image_metrics(options.a), read_image_metrics(options.b)
    pairs = pair_images(a, b, (str(options.a), str(options.b)))
    if options.metric not in pairs[0][0] or options.metric not in pairs[0][1]:
        raise InputError(f"--metric {options.metric}: not in both evaluations: choose another")
    print(f"A: {options.a}\nB: {options.b}\n")
    print(f"{'':12} {'N':>6} {'':>5} {'A':>10} {'B':>10} {'B - A':>10}   95 % interval")
    for found in compare(pairs):
        interval = f"[{found.low:+.4f}, {found.high:+.4f}]" if found.images > 1 else "-"
        print(
            f"{found.group:12} {found.images:6} {found.metric:>5} {found.a:10.4f} {found.b:10.4f} "
            f"{found.difference:+10.4f}   {interval}{'  *' if found.is_sure else ''}"
        )
    print("* the interval does not hold 0")
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


def _gain(pair: tuple[ImageMetrics, ImageMetrics], metric: str) -> float:
    """How much better B is."""
    difference = pair[1][metric] - pair[0][metric]
    return difference if metric in _LARGER_IS_BETTER else -difference


def _csv(pairs: Sequence[tuple[ImageMetrics, ImageMetrics]]) -> bytes:
    metrics = [metric for metric in METRICS if all(metric in image for image in pairs[0])]
    columns = [f"{metric}_{side}" for metric in metrics for side in ("A", "B", "difference")]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["subset", "name", "foreground_ratio", *columns])
    for a, b in pairs:
        cells = [value for m in metrics for value in (a[m], b[m], b[m] - a[m])]
        writer.writerow([a["subset"], a["name"], a["foreground_ratio"], *cells])
    return text.getvalue().encode()


if __name__ == "__main__":
    main()
