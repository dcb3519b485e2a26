"""A picture in memory, and which files hold one."""

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt

from harmony_jax.errors import InputError
from harmony_jax.photos.companions import Companions
from harmony_jax.photos.kinds import UNREAD_ENDINGS

MAX_PIXELS = 200_000_000  # the largest cameras'; 1.2 GB as uint8, before and after

# Formats by their endings, those first that are also written.
WRITTEN_FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
FORMATS = WRITTEN_FORMATS | {
    ".mpo": "JPEG",
    ".dib": "BMP",
    ".gif": "GIF",
    ".heic": "HEIF",
    ".heif": "HEIF",
    ".hif": "HEIF",
    ".avif": "AVIF",
    ".jp2": "JPEG2000",
    ".jpx": "JPEG2000",
    ".jpf": "JPEG2000",
    ".j2k": "JPEG2000",
    ".j2c": "JPEG2000",
    ".jxl": "JPEGXL",
}
ENDINGS = tuple(FORMATS)
WRITTEN_ENDINGS = tuple(WRITTEN_FORMATS)

_LOGGER = logging.getLogger(__name__)


class Picture(NamedTuple):
    """A picture, upright, and what came with it.

    Attributes:
        pixels: RGB [height, width, 3], uint8 or uint16 over the type's whole range.
        alpha: opacity [height, width] of the same type, or None if it has none.
        grey: whether it was stored, and is written, without colour.
        icc_profile: what the colours mean, or None for sRGB.
        exif: fields about the photograph, as `PIL.Image.Exif.tobytes` gives them, or None.
        companions: all else that came with it.
    """

    pixels: UInt[np.ndarray, "height width 3"]
    alpha: UInt[np.ndarray, "height width"] | None = None
    grey: bool = False
    icc_profile: bytes | None = None
    exif: bytes | None = None
    companions: Companions = Companions()


def to_eight_bits(picture: Picture) -> Picture:
    """The picture with uint8 pixels, rounded."""
    alpha = picture.alpha if picture.alpha is None else to_uint8(picture.alpha)
    return picture._replace(pixels=to_uint8(picture.pixels), alpha=alpha)


def to_uint8(pixels: np.ndarray) -> np.ndarray:
    """uint16 over its whole range to uint8, rounded: 65535 is 257 times 255."""
    if pixels.dtype == np.uint8:
        return pixels
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def check_ending(ending: str, label: str) -> None:
    """Raises InputError, about what `label` names, unless files that end so are read."""
    if ending.lower() in UNREAD_ENDINGS:
        raise InputError(f"{label}: {UNREAD_ENDINGS[ending.lower()]}")
    if ending.lower() not in FORMATS:
        raise InputError(f"{label}: unknown ending {ending!r}: use {', '.join(ENDINGS)}")


def check_written_ending(ending: str, label: str) -> None:
    """Raises InputError, about what `label` names, unless files that end so are written."""
    if ending.lower() in WRITTEN_FORMATS:
        return
    kind = "is read but not written" if ending.lower() in FORMATS else "is unknown"
    raise InputError(f"{label}: the ending {ending!r} {kind}: use {', '.join(WRITTEN_ENDINGS)}")


def output_name(photo: Path, ending: str | None = None) -> str:
    """The name of what becomes of a photo.

    Args:
        photo: its path.
        ending: the one asked for, or None for the photo's own; where its format is not written it
            becomes PNG, which a warning says.
    """
    if ending is None and photo.suffix.lower() in FORMATS.keys() - WRITTEN_FORMATS.keys():
        ending = ".jpg" if FORMATS[photo.suffix.lower()] == "JPEG" else ".png"
        _LOGGER.warning("%s: this format is not written: the output ends in %s", photo, ending)
    return photo.with_suffix(ending).name if ending else photo.name
