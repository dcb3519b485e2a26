"""Pictures as people have them: JPEG, PNG, WebP and TIFF of any kind, with colour profile and EXIF.

Data sets are read by `harmony_jax.data.codecs`, which is faster and exact to the benchmark.
"""

import io
import logging
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import imagecodecs
import numpy as np
from jaxtyping import UInt
from PIL import Image, ImageCms, TiffImagePlugin

from harmony_jax.disk import read_file, write_file
from harmony_jax.errors import InputError
from harmony_jax.photos.exif import add_to_tiff, read_exif
from harmony_jax.photos.tiff import decode_tiff

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff")
MAX_PIXELS = 200_000_000  # the largest cameras'; 1.2 GB as uint8, before and after

_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")
_READABLE = "expected JPEG, PNG, WebP or TIFF"
_JPEG_QUALITY = 95

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
    image = _opened(data, label, max_pixels)
    try:
        if _is_deep_tiff(image):
            pixels = decode_tiff(data, label)
        else:
            image.load()
            deep = image.format == "PNG" and data[24] == 16  # in the header, the first chunk
            pixels = imagecodecs.png_decode(data) if deep else _eight_bits(image, label)
        picture = _assemble(image, pixels, label)
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{label}: not enough memory: make it smaller") from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{label}: damaged {image.format} ({reason}): replace the file") from error
    if _holds_more(image):
        _LOGGER.warning("%s: holds more than one picture: the first is taken", label)
    return picture


def count_pixels(data: bytes, label: str, max_pixels: int = MAX_PIXELS) -> int:
    """How many pixels a file says that it has; raises InputError as `decode_picture`."""
    width, height = _opened(data, label, max_pixels).size
    return width * height


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
    if picture.pixels.dtype == np.uint16 and kind not in (".png", ".tif", ".tiff"):
        picture = to_eight_bits(picture)
    if kind in (".jpg", ".jpeg"):
        picture = picture._replace(alpha=None)
    channels = _channels(picture)
    has_color = kind == ".webp" or (channels.ndim == 3 and channels.shape[2] > 2)
    if has_color and picture.icc_profile and picture.icc_profile[16:20] == b"GRAY":
        _LOGGER.warning("a %s with colour holds no profile of grey: left out", kind)
        picture = picture._replace(icc_profile=None)
    try:
        if kind in (".tif", ".tiff"):
            return _tiff(channels, picture)
        if channels.dtype == np.uint16:
            return _png_16(channels, picture)
        return _by_pil(channels, picture, kind)
    except (OSError, TypeError, ValueError, struct.error, imagecodecs.PngError) as error:
        height, width, _ = picture.pixels.shape
        reason = " ".join(str(error).split())
        raise InputError(
            f"{width} x {height} pixels cannot be written as {ending} ({reason}): use another"
        ) from error


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


def _opened(data: bytes, label: str, max_pixels: int) -> Image.Image:
    """The picture of a file of which nothing but the header is read."""
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
    return image


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
    channels = np.atleast_3d(pixels)
    grey = channels.shape[2] < 3
    rgb = np.repeat(channels[:, :, :1], 3, 2) if grey else channels[:, :, :3]
    alpha = channels[:, :, -1] if channels.shape[2] in (2, 4) else None
    orientation, exif = read_exif(image, label)
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


def _is_deep_tiff(image: Image.Image) -> bool:
    """Whether a file has 9 to 16 bits a channel, of which PIL reads 8; inks are taken as 8."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or image.mode == "CMYK":
        return False
    return 8 < max(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))) <= 16


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


def _by_pil(pixels: np.ndarray, picture: Picture, kind: str) -> bytes:
    options: dict = {"icc_profile": picture.icc_profile} if picture.icc_profile else {}
    if picture.exif:
        options["exif"] = picture.exif
    if kind in (".jpg", ".jpeg"):
        options |= {"format": "JPEG", "quality": _JPEG_QUALITY, "subsampling": 0}
    elif kind == ".png":
        options |= {"format": "PNG", "compress_level": 2}  # the default takes four times as long
    else:
        options |= {"format": "WEBP", "lossless": True, "exact": True, "method": 0}
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, **options)
    return buffer.getvalue()


def _png_16(pixels: np.ndarray, picture: Picture) -> bytes:
    """Imagecodecs' PNG, with the chunks that it does not write behind the header."""
    kinds = imagecodecs.PNG
    data = bytes(  # by default it takes four times as long
        imagecodecs.png_encode(
            pixels, level=1, strategy=kinds.STRATEGY.RLE, filter=kinds.FILTER.SUB
        )
    )
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
    """One strip. PIL has no 16-bit colour, and tifffile none of EXIF's nested directories."""
    samples = np.atleast_3d(pixels)
    height, width, count = samples.shape
    little_endian = samples.dtype.newbyteorder("<")
    strip = imagecodecs.deflate_encode(np.ascontiguousarray(samples, little_endian).tobytes(), 3)
    directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    if picture.exif:
        add_to_tiff(picture.exif, directory)
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
