"""Options and limits that the commands for photos share."""

import argparse
import re
import warnings

from PIL import Image

from harmony_jax.errors import InputError
from harmony_jax.photos.picture import MAX_PIXELS
from harmony_jax.weights.released import READY

MAX_STRENGTH = 2.0  # times the change that the model proposes


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """The options of `harmonize` and `harmonize serve`."""
    parser.add_argument(
        "--checkpoint",
        metavar="MODEL",
        help="workdir of a training, one of its checkpoints/STEP, a .safetensors file of this "
        "project, or the name of a released model, fetched on first use (default: "
        f"{READY}, the model that comes with the package)",
    )
    parser.add_argument(
        "--mirror",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="average the network's answers to a photo and to its mirror image: a little better, "
        "in twice its time (default: yes; never for clips)",
    )
    parser.add_argument(
        "--max-megapixels",
        type=float,
        default=MAX_PIXELS / 1e6,
        metavar="N",
        help="refuse larger photos (default: %(default)g)",
    )


def max_pixels(megapixels: float) -> int:
    """The option's value in pixels."""
    if not 0 < megapixels <= 1e6:
        raise InputError(f"--max-megapixels {megapixels:g}: expected more than 0")
    return int(megapixels * 1e6)


def mask_value(text: str) -> tuple[int, ...]:
    """A value of a mask: a grey such as `15`, or red, green and blue such as `128,0,0`."""
    if not re.fullmatch(r"\d{1,5}(,\d{1,5},\d{1,5})?", text):
        raise InputError(f"--mask-value {text}: expected a number, or RED,GREEN,BLUE")
    return tuple(int(number) for number in text.split(","))


def place(text: str) -> tuple[int, int]:
    """Column and row of a cutout's corner, such as `120,-40`; the page takes it as well."""
    if not re.fullmatch(r"-?\d{1,7},-?\d{1,7}", text):
        raise InputError(f"at {text!r}: expected X,Y in pixels, such as 120,40")
    column, row = text.split(",")
    return int(column), int(row)


def expect_any_file(max_pixels: int = MAX_PIXELS) -> None:
    """Sets PIL's limit to ours, and keeps its warnings from the terminal.

    PIL refuses pictures with more than twice its limit before it reads them: a small GIF can claim
    a size that no memory holds.
    """
    Image.MAX_IMAGE_PIXELS = max_pixels
    warnings.filterwarnings("ignore", module=r"PIL\.")
