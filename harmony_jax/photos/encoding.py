"""Pictures to files, with what came with them as far as the format holds it."""

import io
import logging
import os
import struct
import zlib
from pathlib import Path
from typing import Any, Literal, NamedTuple

import imagecodecs
import numpy as np
from PIL import Image, TiffImagePlugin

from harmony_jax.disk import write_file
from harmony_jax.errors import InputError
from harmony_jax.photos import png
from harmony_jax.photos.companions import iptc_segment, pixels_a_metre
from harmony_jax.photos.exif import add_resolution, add_to_tiff
from harmony_jax.photos.picture import (
    WRITTEN_FORMATS,
    Picture,
    check_written_ending,
    to_eight_bits,
)

_JPEG_QUALITY = 95
_LONGEST_XMP = 65_502  # bytes, in a segment of JPEG
_HAS_ALPHA = ("PNG", "TIFF", "WEBP")
_HAS_TEXT = ("PNG",)
_HAS_IPTC = ("JPEG", "TIFF")
_HAS_GEO = ("TIFF",)
_HOLDS_NOTHING = ("BMP",)

Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]

_LOGGER = logging.getLogger(__name__)


class JpegOptions(NamedTuple):
    """How JPEG is compressed.

    Attributes:
        quality: from 1 to 100; None takes a JPEG photo's own tables, and 95 for all others.
        subsampling: of colour; None takes a JPEG photo's own, and 4:4:4 for all others.
    """

    quality: int | None = None
    subsampling: Subsampling | None = None


_DEFAULTS = JpegOptions()


def encode_picture(
    picture: Picture, ending: str, jpeg: JpegOptions = _DEFAULTS, label: str = "picture"
) -> bytes:
    """Encodes a picture for a file whose name ends so.

    PNG, TIFF, WebP and BMP are without loss. All but PNG and TIFF hold 8 bits a channel, JPEG and
    BMP no alpha. What the format does not hold is left out, which a warning says.

    Args:
        picture: all of it.
        ending: one of `WRITTEN_ENDINGS`.
        jpeg: how JPEG is compressed.
        label: what warnings name.

    Raises:
        InputError: unknown ending, or a picture too large for the format.
    """
    check_written_ending(ending, "picture")
    kind = WRITTEN_FORMATS[ending.lower()]
    picture = _fitted(picture, kind, label)
    channels = _channels(picture)
    try:
        if kind == "TIFF":
            return _tiff(channels, picture)
        if kind == "PNG":
            return _png(channels, picture)
        return _by_pil(channels, picture, kind, jpeg)
    except (OSError, TypeError, ValueError, struct.error, imagecodecs.PngError) as error:
        height, width, _ = picture.pixels.shape
        reason = " ".join(str(error).split())
        raise InputError(
            f"{width} x {height} pixels cannot be written as {ending} ({reason}): use another"
        ) from error


def write_picture(
    path: str | os.PathLike[str], picture: Picture, jpeg: JpegOptions = _DEFAULTS
) -> None:
    """Writes a picture by its name's ending, whole or not at all.

    Raises:
        InputError: as `encode_picture`, or the folder cannot be written.
    """
    path = Path(path)
    check_written_ending(path.suffix, str(path))
    try:
        data = encode_picture(picture, path.suffix, jpeg, str(path))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    write_file(path, data)


def _fitted(picture: Picture, kind: str, label: str) -> Picture:
    """The picture without what a format does not hold, of which a warning tells."""
    companions = picture.companions
    if picture.pixels.dtype == np.uint16 and kind not in ("PNG", "TIFF"):
        picture = to_eight_bits(picture)
    lost = []
    if picture.alpha is not None and kind not in _HAS_ALPHA:
        lost.append("alpha channel")
        picture = picture._replace(alpha=None)
    has_color = kind == "WEBP" or not picture.grey
    if picture.grey and picture.alpha is not None and picture.pixels.dtype == np.uint16:
        has_color = True
    if has_color and picture.icc_profile and picture.icc_profile[16:20] == b"GRAY":
        _LOGGER.warning("%s: %s with colour holds no profile of grey: left out", label, kind)
        picture = picture._replace(icc_profile=None)
    if companions.text and kind not in _HAS_TEXT:
        lost.append("PNG's texts")
        companions = companions._replace(text=())
    if companions.iptc and kind not in _HAS_IPTC:
        lost.append("IPTC")
        companions = companions._replace(iptc=None)
    if companions.geo and kind not in _HAS_GEO:
        lost.append("GeoTIFF's fields")
        companions = companions._replace(geo=())
    if companions.xmp and kind == "JPEG" and len(companions.xmp) > _LONGEST_XMP:
        lost.append("XMP of this length")
        companions = companions._replace(xmp=None)
    if companions.iptc and kind == "JPEG" and iptc_segment(companions.iptc) is None:
        lost.append("IPTC of this length")
        companions = companions._replace(iptc=None)
    if kind in _HOLDS_NOTHING:
        held = {"profile": picture.icc_profile, "EXIF": picture.exif, "XMP": companions.xmp}
        lost += [name for name, value in held.items() if value]
        picture = picture._replace(icc_profile=None, exif=None)
        companions = companions._replace(xmp=None)
    if lost:
        _LOGGER.warning("%s: %s holds no %s: left out", label, kind, " and no ".join(lost))
    return picture._replace(companions=companions)


def _channels(picture: Picture) -> np.ndarray:
    """Grey, grey and alpha, RGB, or RGB and alpha, as they are stored."""
    pixels = picture.pixels
    # Neither library has 16-bit grey with alpha everywhere; with colour they do.
    if picture.grey and (picture.alpha is None or pixels.dtype == np.uint8):
        weights = np.array([0.299, 0.587, 0.114], np.float32)  # Rec. 601, as JPEG and PIL
        pixels = np.rint(pixels @ weights).astype(pixels.dtype)[:, :, None]
    if picture.alpha is not None:
        pixels = np.concatenate([pixels, picture.alpha[:, :, None]], 2)
    return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels


def _by_pil(pixels: np.ndarray, picture: Picture, kind: str, jpeg: JpegOptions) -> bytes:
    companions, exif = picture.companions, picture.exif
    options: dict[str, Any] = {"format": kind}
    if picture.icc_profile:
        options["icc_profile"] = picture.icc_profile
    if companions.xmp:
        options["xmp"] = companions.xmp
    if kind == "JPEG":
        options |= _jpeg_options(picture, jpeg)
        if companions.iptc:
            options["extra"] = iptc_segment(companions.iptc)
    elif kind == "WEBP":
        options |= {"lossless": True, "exact": True, "method": 0}
        exif = add_resolution(exif, companions.resolution)
    if companions.resolution and kind != "WEBP":
        options["dpi"] = companions.resolution
    if exif:
        options["exif"] = exif
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, **options)
    return buffer.getvalue()


def _jpeg_options(picture: Picture, jpeg: JpegOptions) -> dict[str, Any]:
    found = picture.companions.jpeg
    options: dict[str, Any] = {"subsampling": jpeg.subsampling or 0}
    if found is not None and jpeg.subsampling is None:
        options["subsampling"] = found.subsampling
    if found is not None and jpeg.quality is None:
        return options | {"qtables": [list(table) for table in found.tables]}
    return options | {"quality": jpeg.quality or _JPEG_QUALITY}


def _png(pixels: np.ndarray, picture: Picture) -> bytes:
    companions, chunks = picture.companions, list(picture.companions.text)
    if companions.xmp:
        chunks.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + companions.xmp))
    if companions.resolution:
        size = struct.pack(">IIB", *pixels_a_metre(companions.resolution), 1)
        chunks.insert(0, (b"pHYs", size))
    if picture.exif:
        chunks.insert(0, (b"eXIf", picture.exif.removeprefix(b"Exif\0\0")))
    if picture.icc_profile:
        profile = b"ICC Profile\0\0" + zlib.compress(picture.icc_profile)
        chunks.insert(0, (b"iCCP", profile))
    data = png.encode(pixels)
    return png.with_chunks(data, chunks) if chunks else data


def _tiff(pixels: np.ndarray, picture: Picture) -> bytes:
    """One strip. PIL has no 16-bit colour, and tifffile none of EXIF's nested directories."""
    samples = np.atleast_3d(pixels)
    height, width, count = samples.shape
    little_endian = samples.dtype.newbyteorder("<")
    strip = imagecodecs.deflate_encode(np.ascontiguousarray(samples, little_endian).tobytes(), 3)
    directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    if exif := add_resolution(picture.exif, picture.companions.resolution):
        add_to_tiff(exif, directory)
    directory[TiffImagePlugin.IMAGEWIDTH] = width
    directory[TiffImagePlugin.IMAGELENGTH] = height
    directory[TiffImagePlugin.BITSPERSAMPLE] = (8 * samples.itemsize,) * count
    directory[TiffImagePlugin.COMPRESSION] = 8  # Adobe deflate
    directory[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] = 1 if count < 3 else 2
    directory[TiffImagePlugin.SAMPLESPERPIXEL] = count
    directory[TiffImagePlugin.ROWSPERSTRIP] = height
    directory[TiffImagePlugin.STRIPBYTECOUNTS] = len(strip)
    directory[TiffImagePlugin.STRIPOFFSETS] = 0  # moved behind the directory as it is saved
    if count in (2, 4):
        directory[TiffImagePlugin.EXTRASAMPLES] = 2  # alpha, not multiplied into the colours
    if picture.icc_profile:
        directory[TiffImagePlugin.ICCPROFILE] = picture.icc_profile
    companions = picture.companions
    fields = [*companions.geo]
    fields += [(700, 1, companions.xmp)] if companions.xmp else []
    fields += [(33723, 7, companions.iptc)] if companions.iptc else []
    for tag, kind, value in fields:
        directory.tagtype[tag] = kind
        directory[tag] = value
    buffer = io.BytesIO()
    directory.save(buffer)
    buffer.write(strip)
    return buffer.getvalue()
