"""What the commands that harmonize people's photos share: options and limits."""

import argparse
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


def expect_any_file() -> None:
    """For commands that read whatever they are given: our own limits and messages alone."""
    Image.MAX_IMAGE_PIXELS = None
    warnings.filterwarnings("ignore", module=r"PIL\.")
