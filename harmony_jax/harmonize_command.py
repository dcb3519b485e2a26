"""The `harmonize` command: photos and clips on disk, or a page in the browser."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    import argparse

_USAGE = """\
harmonize PHOTO [MASK] -o OUTPUT
       harmonize CLIP [MASKS] [--codec NAME] [--every N] -o OUTPUT
       harmonize CUTOUT [MASK] --onto BACKGROUND [--at X,Y] [--scale S] -o OUTPUT
       harmonize --images FOLDER [--masks FOLDER] [--onto BACKGROUND] -o FOLDER
       harmonize serve
"""
_DESCRIPTION = """\
Makes the colours of a photo's pasted foreground fit. The mask is white on the foreground; without
one, the photo's alpha channel is the mask. With --onto, the photo is first cut out by its mask and
pasted on a background.

In folders, the mask of cat.jpg is cat.png (or another ending) or cat_mask.png, also in the same
folder; that of a_b_c.jpg may be a_b.png. Existing outputs are kept, so the same command continues.

A clip is a video file, or with --video a folder of frames. Its masks are a clip, a folder, one
picture for all frames, or its alpha channel. The output is a video file or a folder.

Exit status: 0, every photo is done; 1, a mistake, nothing was done; 2, some photos of a folder
failed, and are listed; 130, stopped with Ctrl-C.

`harmonize serve --help` describes the page in the browser."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command; a mistake ends in one line and exit status 1."""
    # An exception would not end it: libraries that load or compile swallow or wrap it.
    signal.signal(signal.SIGINT, _end)
    from harmony_jax.command_line import log_to_terminal
    from harmony_jax.errors import InputError

    arguments = sys.argv[1:] if arguments is None else arguments
    log_to_terminal()
    try:
        options = None if arguments[:1] == ["serve"] else _parse(arguments)
        # What follows loads JAX, which takes seconds: --help and mistakes need not wait for it.
        from harmony_jax.devices.compilation_cache import keep_compiled_programs

        keep_compiled_programs()
        if options is None:
            from harmony_jax.web.server import serve

            serve(arguments[1:])
        else:
            sys.exit((_harmonize_clip if options.video else _harmonize_photos)(options))
    except InputError as error:
        sys.exit(f"error: {error}")


def _end(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if "harmony_jax.disk" in sys.modules:  # else nothing is being written
        sys.modules["harmony_jax.disk"].remove_unfinished()
    what = "the same command continues"
    if "harmony_jax.video.run" in sys.modules:
        what = "nothing is written, the same command begins again"
    print(f"\nstopped: {what}", file=sys.stderr, flush=True)
    os._exit(130)  # as a shell reports it


def _parse(arguments: Sequence[str]) -> "argparse.Namespace":
    from harmony_jax.command_line import Parser
    from harmony_jax.errors import InputError
    from harmony_jax.photos.kinds import OUTPUT_FORMATS
    from harmony_jax.photos.options import (
        MAX_STRENGTH,
        add_model_options,
        mask_value,
        max_pixels,
        place,
    )
    from harmony_jax.photos.pasting import GRAVITIES
    from harmony_jax.video.options import add_video_options, is_video

    parser = Parser(prog="harmonize", usage=_USAGE, description=_DESCRIPTION)
    add = parser.add_argument
    add("photo", type=Path, nargs="?", metavar="PHOTO")
    add("mask", type=Path, nargs="?", metavar="MASK")
    add("--images", type=Path, metavar="FOLDER", help="photos to harmonize")
    add("--masks", type=Path, metavar="FOLDER", help="their masks")
    add("--recursive", action="store_true", help="search folders in the folder too")
    add("-o", "--output", type=Path, required=True, help="file to write, or folder")
    add(
        "--strength",
        type=float,
        default=1.0,
        metavar="S",
        help=f"times the model's change, 0 to {MAX_STRENGTH:g} (default: %(default)g)",
    )
    add(
        "--invert-masks",
        choices=("never", "always", "auto"),
        default="never",
        help="always: masks are black on the foreground; auto: those that are white along the "
        "border are",
    )
    add(
        "--mask-value",
        action="append",
        default=[],
        metavar="V",
        help="a value that is foreground in masks, such as 15 or 128,0,0; may be repeated",
    )
    add("--format", choices=OUTPUT_FORMATS, help="of the outputs (default: the photo's own)")
    add(
        "--quality",
        type=int,
        metavar="Q",
        help="of JPEG, 1 to 100 (default: that of the photo if it is a JPEG, else 95), or of video "
        "(default: 64, visually lossless)",
    )
    add(
        "--subsampling",
        choices=("4:4:4", "4:2:2", "4:2:0"),
        help="of JPEG's colour (default: that of the photo if it is a JPEG, else 4:4:4)",
    )
    add("--overwrite", action="store_true", help="replace existing outputs")
    add = parser.add_argument_group("pasting").add_argument
    add("--onto", type=Path, metavar="BACKGROUND", help="photo to paste on, or a folder of photos")
    add("--at", metavar="X,Y", help="position of the cutout's upper left corner, in pixels")
    add(
        "--gravity",
        choices=GRAVITIES,
        metavar="SIDE",
        help=f"side or corner of the background that the cutout touches: {', '.join(GRAVITIES)}",
    )
    add("--scale", type=float, metavar="S", help="factor on the cutout's size")
    add(
        "--fit",
        type=float,
        metavar="SHARE",
        help="share of the background's width or height that the cutout fills",
    )
    add_video_options(parser)
    add_model_options(parser)
    options = parser.parse_args(arguments)
    photo, images, quality = options.photo, options.images, options.quality
    for is_wrong, message in (
        ((photo is None) == (images is None), "pass one photo, or a folder with --images"),
        (photo and options.masks, "--masks goes with --images: pass the mask after the photo"),
        (photo and options.recursive, "--recursive goes with --images"),
        (
            not 0 <= options.strength <= MAX_STRENGTH,
            f"--strength {options.strength:g}: expected 0 to {MAX_STRENGTH:g}",
        ),
        (quality not in (None, *range(1, 101)), f"--quality {quality}: expected 1 to 100"),
        (images and not os.path.isdir(images), f"--images {images}: no such folder"),
    ):
        if is_wrong:
            parser.error(message)
    for name in ("at", "gravity", "scale", "fit"):
        if getattr(options, name) is not None and options.onto is None:
            raise InputError(f"--{name} goes with --onto: pass the background to paste on")
    options.at = None if options.at is None else place(options.at)
    options.mask_value = tuple(mask_value(text) for text in options.mask_value)
    options.max_pixels = max_pixels(options.max_megapixels)
    options.video = is_video(options)
    return options


def _harmonize_photos(options: "argparse.Namespace") -> int:
    from harmony_jax.photos.encoding import JpegOptions
    from harmony_jax.photos.folders import Settings, harmonize_files
    from harmony_jax.photos.pasting import Placement

    settings = Settings(
        strength=options.strength,
        mirror=options.mirror,
        invert_masks=options.invert_masks,
        ending=f".{options.format}" if options.format else None,
        overwrite=options.overwrite,
        max_pixels=options.max_pixels,
        mask_values=options.mask_value,
        placement=Placement(options.at, options.gravity, options.scale, options.fit),
        recursive=options.recursive,
        jpeg=JpegOptions(options.quality, options.subsampling),
    )
    photo, mask = options.photo or options.images, options.mask or options.masks
    return harmonize_files(options.checkpoint, photo, mask, options.output, settings, options.onto)


def _harmonize_clip(options: "argparse.Namespace") -> int:
    from harmony_jax.photos.steady import SMOOTHING, Steadiness
    from harmony_jax.video.options import frame_rate
    from harmony_jax.video.run import VideoSettings, harmonize_clip

    settings = VideoSettings(
        strength=options.strength,
        steadiness=Steadiness(
            SMOOTHING if options.smoothing is None else options.smoothing,
            1 if options.every is None else options.every,
        ),
        invert_masks=options.invert_masks,
        mask_values=options.mask_value,
        codec=options.codec,
        quality=options.quality,
        rate=frame_rate(options.fps),
        ending=f".{options.format}" if options.format else None,
        overwrite=options.overwrite,
        max_pixels=options.max_pixels,
    )
    paths = options.photo, options.mask, options.output
    print(harmonize_clip(options.checkpoint, *paths, settings))
    return 0


if __name__ == "__main__":
    main()
