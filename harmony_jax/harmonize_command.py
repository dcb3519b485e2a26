"""The `harmonize` command: photos on disk, or a page in the browser."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from harmony_jax.command_line import Parser, log_to_terminal
from harmony_jax.errors import InputError
from harmony_jax.photos.options import add_model_options, expect_any_file, max_pixels
from harmony_jax.photos.outcome import Outcome, report

_USAGE = """\
harmonize PHOTO [MASK] -o OUTPUT
       harmonize --images FOLDER [--masks FOLDER] -o FOLDER
       harmonize serve
"""
_DESCRIPTION = """\
Makes the pasted foreground of a composite photo fit. The mask is white on the foreground; without
one, the photo's alpha channel is taken. In folders, the mask of cat.jpg is cat.png (or another
ending), that of a_b_c.jpg may be a_b.png; outputs that are there already are kept, so the same
command continues.

Exit status: 0, every photo is done; 1, a mistake, nothing was done; 2, some photos of a folder
failed, and are listed.

`harmonize serve --help` is about the page in the browser."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command; a mistake ends in one line and exit status 1."""
    arguments = sys.argv[1:] if arguments is None else arguments
    log_to_terminal()
    expect_any_file()
    try:
        if arguments[:1] == ["serve"]:
            _serve(arguments[1:])
        else:
            sys.exit(report(_harmonize(_parse(arguments))))
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("stopped: the same command continues", file=sys.stderr)
        sys.exit(130)  # as a shell reports it


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(prog="harmonize", usage=_USAGE, description=_DESCRIPTION)
    parser.add_argument("photo", type=Path, nargs="?", metavar="PHOTO")
    parser.add_argument("mask", type=Path, nargs="?", metavar="MASK")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="photos to harmonize")
    parser.add_argument("--masks", type=Path, metavar="FOLDER", help="their masks")
    parser.add_argument("-o", "--output", type=Path, required=True, help="file to write, or folder")
    parser.add_argument(
        "--strength", type=float, default=1.0, metavar="S", help="share of the change, 0 to 1"
    )
    parser.add_argument(
        "--invert-masks",
        choices=("never", "always", "auto"),
        default="never",
        help="always: masks are black on the foreground; auto: those are that are white along the "
        "border",
    )
    parser.add_argument(
        "--format",
        choices=("png", "jpg", "webp", "tif", "bmp"),
        help="write files of this format (by default the photo's own)",
    )
    parser.add_argument(
        "--quality",
        type=int,
        metavar="Q",
        help="of JPEG, 1 to 100 (by default as the photo's if it is a JPEG, else 95)",
    )
    parser.add_argument(
        "--subsampling",
        choices=("4:4:4", "4:2:2", "4:2:0"),
        help="of JPEG's colour (by default as the photo's if it is a JPEG, else 4:4:4)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace outputs already there")
    add_model_options(parser)
    options = parser.parse_args(arguments)
    if (options.photo is None) == (options.images is None):
        raise InputError("pass one photo, or a folder with --images (--help shows how)")
    if options.photo is not None and options.masks is not None:
        raise InputError("--masks goes with --images: pass the mask behind the photo")
    if not 0 <= options.strength <= 1:
        raise InputError(f"--strength {options.strength:g}: expected 0 to 1")
    if options.quality is not None and not 1 <= options.quality <= 100:
        raise InputError(f"--quality {options.quality}: expected 1 to 100")
    if options.images is not None and not os.path.isdir(options.images):
        raise InputError(
            f"--images {options.images}: no such folder, or a closed one: check the path"
        )
    options.max_pixels = max_pixels(options.max_megapixels)
    return options


# What follows loads JAX, which takes seconds: --help and mistakes need not wait for it. Flask is
# loaded for the page alone.


def _harmonize(options: argparse.Namespace) -> Outcome:
    from harmony_jax.devices.compilation_cache import keep_compiled_programs
    from harmony_jax.photos.folders import Settings, predict
    from harmony_jax.photos.formats import JpegOptions

    keep_compiled_programs()
    settings = Settings(
        strength=options.strength,
        invert_masks=options.invert_masks,
        ending=f".{options.format}" if options.format else None,
        overwrite=options.overwrite,
        max_pixels=options.max_pixels,
        jpeg=JpegOptions(options.quality, options.subsampling),
    )
    return predict(
        options.checkpoint,
        options.photo or options.images,
        options.mask or options.masks,
        options.output,
        settings,
    )


def _serve(arguments: Sequence[str]) -> None:
    from harmony_jax.devices.compilation_cache import keep_compiled_programs
    from harmony_jax.web.server import serve

    keep_compiled_programs()
    serve(arguments)


if __name__ == "__main__":
    main()
