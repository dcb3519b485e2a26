"""What the commands that harmonize people's photos share: options and limits."""

import argparse
import re
import warnings

from PIL import Image

from harmony_jax.errors import InputError
from harmony_jax.photos.formats import MAX_PIXELS
from harmony_jax.weights.released import READY


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """The options that both forms of the command have."""
    parser.add_argument(
        "--checkpoint",
        metavar="MODEL",
        help="workdir that was trained in, one of its checkpoints/STEP, a .safetensors file "
        "written here, or the name of a released model, fetched on first use (by default "
        f"{READY}, the model that comes with the package)",
    )
    parser.add_argument(
        "--max-megapixels",
        type=float,
        default=MAX_PIXELS / 1e6,
        metavar="N",
        help="refuse larger photos (by default %(default)g)",
    )


def max_pixels(megapixels: float) -> int:
    """The option's value in pixels; raises InputError unless it is positive."""
    if not 0 < megapixels <= 1e6:
        raise InputError(f"--max-megapixels {megapixels:g}: expected more than 0")
    return int(megapixels * 1e6)


def mask_value(text: str) -> tuple[int, ...]:
    """A value of a mask: a grey such as `15`, or red, green and blue such as `128,0,0`."""
    if not re.fullmatch(r"\d{1,5}(,\d{1,5},\d{1,5})?", text):
        raise InputError(f"--mask-value {text}: expected a number, or RED,GREEN,BLUE")
    return tuple(int(number) for number in text.split(","))


def place(text: str) -> tuple[int, int]:
    """Where a cutout's corner comes to, such as `120,-40`: column and row."""
    if not re.fullmatch(r"-?\d{1,7},-?\d{1,7}", text):
        raise InputError(f"--at {text}: expected X,Y in pixels, such as 120,40")
    column, row = text.split(",")
    return int(column), int(row)


def expect_any_file(max_pixels: int = MAX_PIXELS) -> None:
    """For commands that read whatever they are given: our own limits and messages alone.

    PIL refuses what has more than twice the pixels of its limit before anything is read: a small
    GIF can say that it is so large that memory for it could not be had.
    """
    Image.MAX_IMAGE_PIXELS = max_pixels
    warnings.filterwarnings("ignore", module=r"PIL\.")
