"""Writes composites made of photos to disk, in iHarmony4's layout, for a set that stays the same.

    python scripts/make_composites.py --photos=PHOTOS --output=COMPOSITES
    python scripts/make_composites.py --photos=PHOTOS --output=COMPOSITES --composites.hue=20

Photos are a folder, with or without masks (docs/data.md). The output has composite_images/,
real_images/, masks/, two lists and composites.csv, and is read with
--config.data.name=pairs --config.data.root=COMPOSITES. Interrupted, the same command continues.
Training on photos (--config.data.name=photos) needs no such set: it makes composites as it goes.
"""

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from configs import base
from harmony_jax.command_line import Parser, errors_in_one_line
from harmony_jax.data.composites.photo_set import PhotoSet
from harmony_jax.data.composites.recipe import Recipe
from harmony_jax.data.composites.source import PhotosSource
from harmony_jax.data.preparing.composites import CSV, write_composites
from harmony_jax.data.preparing.report import UNREADABLE_LIST, print_unreadable
from harmony_jax.devices.host_cores import usable_cores
from harmony_jax.errors import InputError

_NAMES = [field.name for field in fields(Recipe)]


@errors_in_one_line()
def main(arguments: Sequence[str] | None = None) -> None:
    """Writes one set; an unreadable photo ends with exit status 1."""
    options = _parse(arguments)
    values, output = vars(options), options.output
    recipe = Recipe.of({name: values[f"composites.{name}"] for name in _NAMES})
    photos = PhotoSet(options.photos, options.masks, options.regions, "--photos")
    found = write_composites(
        PhotosSource(photos, recipe),
        output,
        per_object=options.per_object,
        test_fraction=options.test_fraction,
        seed=options.seed,
        workers=options.workers,
    )
    print_unreadable(found.unreadable)
    counts = " and ".join(f"{count:,} for {split}" for split, count in found.listed.items())
    print(f"{output}: {counts}; {CSV} says what was done to each")
    if found.unreadable and not options.skip_unreadable:
        raise InputError(
            f"{output / UNREADABLE_LIST}: {len(found.unreadable)} objects have no composite: "
            "repair or remove their files and run the command again, or pass --skip-unreadable"
        )
    print(
        f"Use: python main.py --config=configs/improved_dih256.py --workdir=runs/mine "
        f"--config.data.name=pairs --config.data.root={output}"
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--photos", required=True, help="folder of photos")
    parser.add_argument("--masks", default="", help="folder of their masks; by default masks/")
    parser.add_argument("--output", type=Path, required=True, help="folder to make")
    parser.add_argument("--regions", type=int, default=2, help="of a photo without masks")
    parser.add_argument("--per-object", type=int, default=1, help="composites of each object")
    parser.add_argument(
        "--test-fraction", type=float, default=0.1, help="share of the photos for the test list"
    )
    parser.add_argument("--seed", type=int, default=0, help="another one gives other composites")
    parser.add_argument(
        "--workers", type=int, default=usable_cores(), help="processes; by default one a core"
    )
    parser.add_argument(
        "--skip-unreadable", action="store_true", help="exit status 0 if some cannot be made"
    )
    recipe = parser.add_argument_group("recipe (configs/base.py explains each value)")
    defaults = base.get_config().data.composites
    for name in _NAMES:
        several: Any = {"nargs": 2} if isinstance(defaults[name], tuple) else {}
        recipe.add_argument(
            f"--composites.{name}",
            type=float,
            default=defaults[name],
            metavar="N",
            help="by default %(default)s",
            **several,
        )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
