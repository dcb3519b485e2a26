"""Writes composites made of photos to disk, in iHarmony4's layout, for a set that stays the same.

    python scripts/make_composites.py --photos=PHOTOS --output=COMPOSITES
    python scripts/make_composites.py --photos=PHOTOS --output=COMPOSITES --composites.hue=20

Photos lie in a folder, with or without masks (docs/data.md). The output has composite_images/,
real_images/, masks/, two lists and composites.csv, and is read with
--config.data.name=pairs --config.data.root=COMPOSITES. Interrupted, the same command continues.
Training on photos (--config.data.name=photos) needs no such set: it makes composites as it goes.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from configs import base
from harmony_jax.command_line import Parser
from harmony_jax.data.composites.photo_set import PhotoSet
from harmony_jax.data.composites.recipe import Recipe
from harmony_jax.data.preparing.composites import CSV, UNREADABLE_LIST, CompositeFolder, Written
from harmony_jax.devices.host_cores import usable_cores
from harmony_jax.errors import InputError

_SHOWN = 10


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes one set; a mistake ends in one line and exit status 1, as do unreadable photos."""
    try:
        _run(_parse(arguments))
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted: the same command continues")


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
    parser.add_argument("--seed", type=int, default=0, help="another one, other composites")
    parser.add_argument(
        "--workers", type=int, default=usable_cores(), help="processes; by default one a core"
    )
    parser.add_argument(
        "--skip-unreadable", action="store_true", help="exit status 0 if some cannot be made"
    )
    recipe = parser.add_argument_group("how (configs/base.py says what each means)")
    defaults = base.get_config().data.composites
    for field in fields(Recipe):
        several: Any = {"nargs": 2} if isinstance(defaults[field.name], tuple) else {}
        recipe.add_argument(
            f"--composites.{field.name}",
            type=float,
            default=defaults[field.name],
            metavar="N",
            help="by default %(default)s",
            **several,
        )
    return parser.parse_args(arguments)


def _run(arguments: argparse.Namespace) -> None:
    if arguments.workers < 1:
        raise InputError(f"--workers {arguments.workers}: choose 1 or more")
    options = vars(arguments)
    chosen = {field.name: options[f"composites.{field.name}"] for field in fields(Recipe)}
    recipe = Recipe(**{name: _plain(value) for name, value in chosen.items()})
    photos = PhotoSet(arguments.photos, arguments.masks, arguments.regions, "--photos")
    folder = CompositeFolder(
        photos,
        recipe,
        arguments.output,
        per_object=arguments.per_object,
        test_fraction=arguments.test_fraction,
        seed=arguments.seed,
    )
    found = folder.write(arguments.workers)
    _report(found, arguments.output)
    if found.unreadable and not arguments.skip_unreadable:
        raise InputError(
            f"{arguments.output / UNREADABLE_LIST}: {len(found.unreadable)} objects have no "
            "composite: mend or remove their files and run the command again, or pass "
            "--skip-unreadable"
        )


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, (list, tuple)) else value


def _report(found: Written, output: Path) -> None:
    for text in found.unreadable[:_SHOWN]:
        print(f"unreadable: {text}")
    if len(found.unreadable) > _SHOWN:
        print(f"... and {len(found.unreadable) - _SHOWN} more, in {UNREADABLE_LIST}")
    counts = " and ".join(f"{count:,} for {split}" for split, count in found.listed.items())
    print(f"{output}: {counts}; what was done to each is in {CSV}")
    print(
        f"Use: python main.py --config=configs/improved_dih256.py --workdir=runs/mine "
        f"--config.data.name=pairs --config.data.root={output}"
    )


if __name__ == "__main__":
    main()
