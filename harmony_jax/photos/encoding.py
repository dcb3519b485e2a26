"""Pictures to files, with as much of what came with them as the format holds."""

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
from harmony_jax.photos.kinds import WRITTEN_FORMATS, check_written_ending
from harmony_jax.photos.metadata import add_resolution, add_to_tiff, iptc_segment
from harmony_jax.photos.picture import Picture, to_eight_bits

_JPEG_QUALITY = 95
_LONGEST_XMP = 65_502  # bytes, in a segment of JPEG
_INCH = 0.0254  # metres

# Fields of a Picture and of its Companions with their names in messages, and which formats hold
# them.
_NAMES = {
    "alpha": "alpha channel",
    "text": "PNG's texts",
    "iptc": "IPTC",
    "geo": "GeoTIFF's fields",
    "icc_profile": "profile",
    "exif": "EXIF",
    "xmp": "XMP",
}
_HELD = {
    "JPEG": ("icc_profile", "exif", "xmp", "iptc"),
    "PNG": ("alpha", "icc_profile", "exif", "xmp", "text"),
    "WEBP": ("alpha", "icc_profile", "exif", "xmp"),
    "TIFF": ("alpha", "icc_profile", "exif", "xmp", "iptc", "geo"),
    "BMP": (),
}
_HOLDS_16_BITS = ("PNG", "TIFF")
_HOLDS_NO_GREY = ("WEBP",)

Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]

_LOGGER = logging.getLogger(__name__)


class JpegOptions(NamedTuple):
    """How JPEG is compressed; None takes a JPEG photo's own, and 95 and 4:4:4 for all others."""

    quality: int | None = None  # 1 to 100
    subsampling: Subsampling | None = None


_DEFAULTS = JpegOptions()


def encode_picture(
    picture: Picture, ending: str, jpeg: JpegOptions = _DEFAULTS, label: str = "picture"
) -> bytes:
    """Encodes a picture for a file with an ending of `WRITTEN_ENDINGS`.

    PNG, TIFF, WebP and BMP lose nothing of the pixels. What else the format does not hold is left
    out, with a warning that names the picture by `label`.
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
    """Writes a picture in the format of its name's ending, whole or not at all."""
    path = Path(path)
    check_written_ending(path.suffix, str(path))
    try:
        data = encode_picture(picture, path.suffix, jpeg, str(path))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    write_file(path, data)


def _fitted(picture: Picture, kind: str, label: str) -> Picture:
    """The picture without what a format does not hold; a warning names what is left out."""
    if kind not in _HOLDS_16_BITS:
        picture = to_eight_bits(picture)
    companions, lost = picture.companions, []
    for field, name in _NAMES.items():
        owner = picture if field in Picture._fields else companions
        value = getattr(owner, field)
        if value is None or not len(value) or field in _HELD[kind]:
            continue
        lost.append(name)
        default: dict[str, Any] = {field: owner._field_defaults[field]}
        if owner is picture:
            picture = picture._replace(**default)
        else:
            companions = companions._replace(**default)
    if kind == "JPEG" and companions.xmp and len(companions.xmp) > _LONGEST_XMP:
        lost.append("XMP of this length")
        companions = companions._replace(xmp=None)
    if kind == "JPEG" and companions.iptc and iptc_segment(companions.iptc) is None:
        lost.append("IPTC of this length")
        companions = companions._replace(iptc=None)
    if lost:
        _LOGGER.warning("%s: %s holds no %s: left out", label, kind, " and no ".join(lost))
    profile = picture.icc_profile
    has_color = kind in _HOLDS_NO_GREY or not _is_stored_grey(picture)
    if has_color and profile and profile[16:20] == b"GRAY":
        _LOGGER.warning("%s: %s with colour holds no profile of grey: left out", label, kind)
        picture = picture._replace(icc_profile=None)
    return picture._replace(companions=companions)


def _is_stored_grey(picture: Picture) -> bool:
    """Not all libraries read grey of 16 bits with alpha, so it is stored as RGB with alpha."""
    return picture.grey and (picture.alpha is None or picture.pixels.dtype == np.uint8)


def _channels(picture: Picture) -> np.ndarray:
    """Grey, grey and alpha, RGB, or RGB and alpha, as they are stored."""
    pixels = picture.pixels
    if _is_stored_grey(picture):
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
        own = companions.jpeg
        options["subsampling"] = jpeg.subsampling or (own.subsampling if own else 0)
        if own and jpeg.quality is None:
            options["qtables"] = [list(table) for table in own.tables]
        else:
            options["quality"] = jpeg.quality or _JPEG_QUALITY
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


def _png(pixels: np.ndarray, picture: Picture) -> bytes:
    companions, chunks = picture.companions, list(picture.companions.text)
    if companions.xmp:
        chunks.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + companions.xmp))
    if companions.resolution:
        per_metre = (round(value / _INCH) for value in companions.resolution)
        chunks.insert(0, (b"pHYs", struct.pack(">IIB", *per_metre, 1)))
    if picture.exif:
        chunks.insert(0, (b"eXIf", picture.exif.removeprefix(b"Exif\0\0")))
    if picture.icc_profile:
        profile = b"ICC Profile\0\0" + zlib.compress(picture.icc_profile)
        chunks.insert(0, (b"iCCP", profile))
    data = png.encode(pixels)
    return png.with_chunks(data, chunks) if chunks else data


def _tiff(pixels: np.ndarray, picture: Picture) -> bytes:
    """One strip. PIL writes no colour of 16 bits, and tifffile no nested EXIF directories."""
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
