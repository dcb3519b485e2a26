"""A picture in memory, with what came with it."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt, UInt8, UInt16

MAX_PIXELS = 200_000_000  # the largest cameras'; 1.2 GB as uint8, before and after


class JpegTables(NamedTuple):
    """How a JPEG was compressed."""

    tables: tuple[tuple[int, ...], ...]  # of quantization, 64 numbers each, row by row
    subsampling: int  # of colour: 0, none; 1, halved across; 2, halved both ways


class Companions(NamedTuple):
    """What comes with a picture besides its pixels, profile and EXIF."""

    resolution: tuple[float, float] | None = None  # pixels per inch, across and down
    xmp: bytes | None = None
    iptc: bytes | None = None
    text: tuple[tuple[bytes, bytes], ...] = ()  # PNG text chunks, kinds and contents
    geo: tuple[tuple[int, int, Any], ...] = ()  # GeoTIFF and GDAL fields: tag, type and value
    jpeg: JpegTables | None = None


class Picture(NamedTuple):
    """A picture, upright.

    Attributes:
        pixels: RGB [height, width, 3], uint8 or uint16 over the type's whole range.
        alpha: opacity [height, width] of the same type, or None.
        grey: whether it was stored, and is written, without colour.
        icc_profile: the colour profile, or None for sRGB.
        exif: fields about the photograph, as `PIL.Image.Exif.tobytes` gives them, or None.
        companions: everything else that came with it.
    """

    pixels: UInt[np.ndarray, "height width 3"]
    alpha: UInt[np.ndarray, "height width"] | None = None
    grey: bool = False
    icc_profile: bytes | None = None
    exif: bytes | None = None
    companions: Companions = Companions()


def to_eight_bits(picture: Picture) -> Picture:
    """The picture with uint8 pixels, rounded."""
    alpha = None if picture.alpha is None else to_uint8(picture.alpha)
    return picture._replace(pixels=to_uint8(picture.pixels), alpha=alpha)


def to_uint8(pixels: UInt[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
    """uint16 over its whole range to uint8, rounded: 65535 is 257 times 255."""
    if pixels.dtype == np.uint8:
        return pixels
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def to_uint16(pixels: UInt[np.ndarray, "..."]) -> UInt16[np.ndarray, "..."]:
    """uint8 to uint16 over its whole range."""
    return pixels if pixels.dtype == np.uint16 else pixels.astype(np.uint16) * 257


def full_range(pixels: np.ndarray, bits: int) -> UInt[np.ndarray, "..."]:
    """Values of `bits` bits stretched over the whole range of uint8, or of uint16 above 8 bits."""
    kind = np.uint8 if bits <= 8 else np.uint16
    if bits in (8, 16):
        return pixels.astype(kind, copy=False)
    return np.rint(pixels * (np.iinfo(kind).max / (2**bits - 1))).astype(kind)
