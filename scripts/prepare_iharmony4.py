"""Packs the downloaded iHarmony4 folders into a prepared data set, for config.data.root.

    python scripts/prepare_iharmony4.py --input=IHARMONY4 --output=DIR
    python scripts/prepare_iharmony4.py --input=IHARMONY4 --output=DIR --subsets=HCOCO,HFlickr

The downloaded files stay as they are. Interrupted, the same command continues.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from harmony_jax.command_line import Parser, errors_in_one_line
from harmony_jax.data.iharmony4 import PUBLISHED, SUBSETS
from harmony_jax.data.preparing.prepare import prepare
from harmony_jax.data.preparing.report import UNREADABLE_LIST, print_unreadable
from harmony_jax.devices.host_cores import usable_cores
from harmony_jax.errors import InputError


@errors_in_one_line()
def main(arguments: Sequence[str] | None = None) -> None:
    """Prepares one set; an unreadable sample ends with exit status 1."""
    options = _parse(arguments)
    found = prepare(
        options.input,
        options.output,
        tuple(options.subsets.split(",")),
        workers=options.workers,
        skip_unreadable=options.skip_unreadable,
    )
    print(found.table())
    print_unreadable(found.unreadable)
    if not found.complete:
        raise InputError(
            f"{options.output / UNREADABLE_LIST}: {len(found.unreadable)} of "
            f"{sum(found.listed.values())} listed samples are missing or damaged: replace their "
            "files and run the command again, or leave them out with --skip-unreadable"
        )
    if not found.as_published:
        totals = " and ".join(
            f"{sum(counts.values()):,} for {split}" for split, counts in PUBLISHED.items()
        )
        print(f"This is not all of iHarmony4, which has {totals}.")
    print(
        f"Use: python main.py --config=configs/improved_dih256.py --workdir=runs/idih "
        f"--config.data.root={options.output}"
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--input", type=Path, required=True, help=f"folder with {', '.join(SUBSETS)}"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to make")
    parser.add_argument(
        "--subsets", default=",".join(SUBSETS), help="which ones, with commas; by default all"
    )
    parser.add_argument(
        "--workers", type=int, default=usable_cores(), help="processes; by default one a core"
    )
    parser.add_argument(
        "--skip-unreadable",
        action="store_true",
        help="leave out listed samples with missing or damaged files, instead of failing",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
