"""Pictures as people have them: JPEG, PNG, WebP and TIFF of any kind, with colour profile and EXIF.

Data sets are read by `harmony_jax.data.photos`, which is faster and exact to the benchmark.
"""

import io
import logging
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt
from PIL import ExifTags, Image, ImageCms, TiffImagePlugin

from harmony_jax.data.photos import read_file, write_file
from harmony_jax.errors import InputError

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff")
MAX_PIXELS = 200_000_000  # the largest cameras'; 1.2 GB as uint8, before and after

_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")
_READABLE = "expected JPEG, PNG, WebP or TIFF"
_JPEG_QUALITY = 95

# EXIF fields of the photograph. Others describe the file it was in: its size, its strips, a
# thumbnail of the picture before.
_KEPT_EXIF = (
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.XResolution,
    ExifTags.Base.YResolution,
    ExifTags.Base.ResolutionUnit,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.HostComputer,
    ExifTags.Base.Copyright,
)
_KEPT_IFDS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)

# What puts a picture upright, by EXIF orientation (Exif 2.32, tag 0x0112).
_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: np.rot90(np.fliplr(pixels)),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(np.fliplr(pixels), -1),
    8: np.rot90,
}

_LOGGER = logging.getLogger(__name__)


class Picture(NamedTuple):
    """A picture, upright, and what came with it.

    Attributes:
        pixels: RGB [height, width, 3], uint8 or uint16 over the type's whole range.
        alpha: opacity [height, width] of the same type, or None if it has none.
        grey: whether it was stored, and is written, without colour.
        icc_profile: what the colours mean, or None for sRGB.
        exif: fields about the photograph, as `PIL.Image.Exif.tobytes` gives them, or None.
    """

    pixels: UInt[np.ndarray, "height width 3"]
    alpha: UInt[np.ndarray, "height width"] | None = None
    grey: bool = False
    icc_profile: bytes | None = None
    exif: bytes | None = None


def read_picture(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> Picture:
    """Reads a picture: grey, palette, RGB, CMYK, with or without alpha, of 8 or 16 bits.

    Args:
        path: a JPEG, PNG, WebP or TIFF file; of several frames the first is taken.
        max_pixels: larger ones are refused before they are decoded.

    Raises:
        InputError: missing, empty, damaged, truncated, another format, or too large.
    """
    return decode_picture(read_file(path), str(path), max_pixels)


def decode_picture(data: bytes, label: str, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decodes a file's content as `read_picture` does; `label` names it in messages."""
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise InputError(f"{label}: {error}: make it smaller") from error
    except Exception as error:  # of any kind: the decoders were not written for damaged files
        raise InputError(f"{label}: not a picture, or a damaged one: {_READABLE}") from error
    width, height = image.size
    if width * height > max_pixels:
        raise InputError(
            f"{label}: {width} x {height} pixels: at most {max_pixels / 1e6:g} megapixels are "
            "taken: make it smaller"
        )
    try:
        image.load()
        if _has_sixteen_bits(image, data):
            Image.open(io.BytesIO(data)).verify()  # checksums, which OpenCV would tell the terminal
            pixels = _decode_sixteen_bits(data)
            if _white_is_zero(image):  # which OpenCV leaves as it is
                pixels = np.iinfo(np.uint16).max - pixels
        else:
            pixels = _eight_bits(image, label)
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{label}: damaged {image.format} ({reason}): replace the file") from error
    picture = _assemble(image, pixels, label)
    if _holds_more(image):
        _LOGGER.warning("%s: holds more than one picture: the first is taken", label)
    return picture


def picture_of(image: Image.Image) -> Picture:
    """A PIL image as a picture, turned as its EXIF orientation says.

    Raises:
        InputError: it is of a kind that is not supported, such as of 32-bit numbers.
    """
    label = "PIL image"
    sixteen_bits = image.mode.startswith("I;16")
    pixels = np.asarray(image, np.uint16) if sixteen_bits else _eight_bits(image, label)
    return _assemble(image, pixels, label)


def encode_picture(picture: Picture, ending: str) -> bytes:
    """Encodes a picture for a file whose name ends so.

    PNG, TIFF and WebP are without loss; JPEG is of quality 95 with whole colour. JPEG and WebP hold
    8 bits a channel, JPEG no alpha.

    Raises:
        InputError: unknown ending, or a picture too large for the format.
    """
    check_ending(ending, "picture")
    kind = ending.lower()
    if kind in (".tif", ".tiff"):
        return _tiff(_channels(picture), picture)
    if picture.pixels.dtype == np.uint16 and kind == ".png":
        return _png_16(_channels(picture), picture)
    if picture.pixels.dtype == np.uint16:
        picture = to_eight_bits(picture)
    options: dict = {"icc_profile": picture.icc_profile} if picture.icc_profile else {}
    if picture.exif:
        options["exif"] = picture.exif
    if kind in (".jpg", ".jpeg"):
        picture = picture._replace(alpha=None)
        options |= {"format": "JPEG", "quality": _JPEG_QUALITY, "subsampling": 0}
    elif kind == ".png":
        options |= {
            "format": "PNG",
            "compress_level": 2,
        }  # 6, the default, takes four times as long
    else:
        options |= {"format": "WEBP", "lossless": True, "exact": True, "method": 0}
    buffer = io.BytesIO()
    try:
        Image.fromarray(_channels(picture)).save(buffer, **options)
    except (OSError, ValueError, struct.error) as error:
        height, width, _ = picture.pixels.shape
        raise InputError(
            f"{width} x {height} pixels cannot be written as {ending} ({error}): use .png or .tif"
        ) from error
    return buffer.getvalue()


def write_picture(path: str | os.PathLike[str], picture: Picture) -> None:
    """Writes a picture by its name's ending, whole or not at all.

    Raises:
        InputError: as `encode_picture`, or the folder cannot be written.
    """
    path = Path(path)
    check_ending(path.suffix, str(path))
    try:
        data = encode_picture(picture, path.suffix)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    write_file(path, data)


def to_eight_bits(picture: Picture) -> Picture:
    """The picture with uint8 pixels, rounded."""
    alpha = picture.alpha if picture.alpha is None else to_uint8(picture.alpha)
    return picture._replace(pixels=to_uint8(picture.pixels), alpha=alpha)


def check_ending(ending: str, label: str) -> None:
    """Raises InputError, about what `label` names, unless an ending is one of `ENDINGS`."""
    if ending.lower() not in ENDINGS:
        raise InputError(f"{label}: unknown ending {ending!r}: use {', '.join(ENDINGS)}")


def to_uint8(pixels: np.ndarray) -> np.ndarray:
    """uint16 over its whole range to uint8, rounded: 65535 is 257 times 255."""
    if pixels.dtype == np.uint8:
        return pixels
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


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


def _holds_more(image: Image.Image) -> bool:
    """Whether there are other pages or frames; a phone's JPEG (MPO) has them for itself."""
    try:
        return image.format != "MPO" and getattr(image, "n_frames", 1) > 1
    except Exception:  # they are damaged, which is no reason to refuse the first
        return False


def _assemble(image: Image.Image, pixels: np.ndarray, label: str) -> Picture:
    """Splits stored channels, and puts them upright."""
    grey = pixels.ndim == 2 or pixels.shape[2] == 2
    channels = np.atleast_3d(pixels)
    rgb = np.repeat(channels[:, :, :1], 3, 2) if grey else channels[:, :, :3]
    alpha = channels[:, :, -1] if channels.shape[2] in (2, 4) else None
    orientation, exif = _read_exif(image, label)
    if orientation in _UPRIGHT:
        turn = _UPRIGHT[orientation]
        rgb, alpha = turn(rgb), alpha if alpha is None else turn(alpha)
    return Picture(
        np.ascontiguousarray(rgb),
        alpha if alpha is None else np.ascontiguousarray(alpha),
        grey,
        None if image.mode == "CMYK" else image.info.get("icc_profile") or None,
        exif,
    )


def _has_sixteen_bits(image: Image.Image, data: bytes) -> bool:
    """PIL itself reads 16-bit colour as 8 bits."""
    if image.format == "PNG":
        return data[24] == 16  # in the header, which is always the first chunk
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return set(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, ())) == {16}
    return False


def _white_is_zero(image: Image.Image) -> bool:
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    return image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0


def _decode_sixteen_bits(data: bytes) -> np.ndarray:
    """Decodes what PIL has found to be whole."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError("16-bit pixels of an unknown layout")
    if pixels.ndim == 2:
        return pixels
    order = cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return cv2.cvtColor(pixels, order)


def _eight_bits(image: Image.Image, label: str) -> np.ndarray:
    if image.mode == "CMYK":
        return np.asarray(_cmyk_to_srgb(image, label))
    if image.mode in ("I", "F", "LAB", "HSV"):
        raise InputError(
            f"{label}: pixels of kind {image.mode}: convert them to RGB of 8 or 16 bits"
        )
    grey = image.mode in ("1", "L", "LA", "La")
    transparent = image.has_transparency_data
    return np.asarray(
        image.convert(("LA" if grey else "RGBA") if transparent else "L" if grey else "RGB")
    )


def _cmyk_to_srgb(image: Image.Image, label: str) -> Image.Image:
    """Through the file's profile; without one, as if inks were ideal."""
    profile = image.info.get("icc_profile")
    if profile:
        try:
            converted = ImageCms.profileToProfile(
                image, io.BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except (ImageCms.PyCMSError, OSError) as error:
            _LOGGER.warning("%s: its colour profile is unusable (%s): left out", label, error)
        else:
            assert converted is not None  # only when it converts in place
            return converted
    return image.convert("RGB")


def _read_exif(image: Image.Image, label: str) -> tuple[int, bytes | None]:
    """The orientation, and the fields to keep."""
    try:
        found = image.getexif()
        orientation = found.get(ExifTags.Base.Orientation, 1)
        kept = Image.Exif()
        for tag in _KEPT_EXIF:
            if tag in found:
                kept[tag] = found[tag]
        for ifd in _KEPT_IFDS:
            fields = dict(found.get_ifd(ifd))
            for tag in (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight):
                fields.pop(tag, None)  # it may have been turned
            if fields:
                kept.get_ifd(ifd).update(fields)
                kept[ifd] = kept.get_ifd(ifd)
        return orientation, kept.tobytes() if len(kept) else None
    except Exception as error:  # damaged fields fail in as many ways as damaged pixels
        _LOGGER.warning("%s: its EXIF cannot be read (%s): left out", label, error)
        return 1, None


def _png_16(pixels: np.ndarray, picture: Picture) -> bytes:
    """OpenCV's PNG, with the chunks that it does not write behind the header."""
    data = cv2.imencode(".png", _opencv_order(pixels))[1].tobytes()
    chunks = b""
    if picture.icc_profile:
        chunks += _png_chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(picture.icc_profile))
    if picture.exif:
        chunks += _png_chunk(b"eXIf", picture.exif.removeprefix(b"Exif\0\0"))
    header = 8 + 25  # signature, then the IHDR chunk
    return data[:header] + chunks + data[header:]


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def _tiff(pixels: np.ndarray, picture: Picture) -> bytes:
    """One strip; PIL has no 16-bit colour, and no EXIF beside compression."""
    samples = np.atleast_3d(pixels)
    height, width, count = samples.shape
    little_endian = samples.dtype.newbyteorder("<")
    strip = zlib.compress(np.ascontiguousarray(samples, little_endian).tobytes(), 3)
    directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    if picture.exif:
        kept = Image.Exif()
        kept.load(picture.exif)
        for tag in _KEPT_EXIF:
            if tag in kept:
                directory[tag] = kept[tag]
        for ifd in _KEPT_IFDS:
            if fields := dict(kept.get_ifd(ifd)):
                directory[ifd] = fields
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
    buffer = io.BytesIO()
    directory.save(buffer)
    buffer.write(strip)
    return buffer.getvalue()


def _opencv_order(pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim == 2:
        return pixels
    return cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR)
