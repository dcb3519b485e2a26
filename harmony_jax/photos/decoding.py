"""Pictures as people have them, of any kind: their pixels, upright, and what came with them."""

import functools
import io
import logging
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import imagecodecs
import numpy as np
from PIL import Image, ImageCms

from harmony_jax.disk import read_file
from harmony_jax.errors import InputError
from harmony_jax.photos import png
from harmony_jax.photos.boxes import check_heif_items, look_at_avif, look_at_jpeg2000
from harmony_jax.photos.color import (
    adobe_rgb,
    check_range,
    is_usable,
    profile_of_code_points,
)
from harmony_jax.photos.companions import (
    Companions,
    iptc_of,
    jpeg_tables_of,
    resolution_of,
    tells_of_others,
    turned_sideways,
    upright_xmp,
    xmp_of,
)
from harmony_jax.photos.exif import load_exif, read_exif
from harmony_jax.photos.jpeg_xl import JpegXlKind, decode_jpeg_xl, is_jpeg_xl, look_at_jpeg_xl
from harmony_jax.photos.kinds import deep_jpeg, is_heif, unread_kind
from harmony_jax.photos.picture import FORMATS, MAX_PIXELS, Picture, to_uint8
from harmony_jax.photos.tiff import TiffKind, decode_tiff, is_tiff, look_at_tiff

# Kinds by PIL's names; HEIF and the rarer kinds of TIFF are read by others.
_BY_PIL = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "AVIF", "JPEG2000")
_READABLE = "expected JPEG, PNG, WebP, TIFF, HEIC, AVIF, BMP, GIF, JPEG 2000 or JPEG XL"

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
_SIDEWAYS = (5, 6, 7, 8)  # of which rows become columns

_FRAMES = "holds more than one picture: the first is taken"
_DEEP = "holds numbers of 32 bits or of floating point: 16 bits are kept"
_BEHIND = "holds a gain map or further pictures: they are left out, and the XMP about them"

_LOGGER = logging.getLogger(__name__)

# Of damaged files; without a handler their words would go to the terminal.
for _library in ("PIL", "imagecodecs", "tifffile"):
    logging.getLogger(_library).addHandler(logging.NullHandler())


class _Source(NamedTuple):
    """A file of which nothing but the header has been read."""

    kind: str  # as in FORMATS
    size: tuple[int, int]
    image: Image.Image | None  # None where PIL cannot open it
    tiff: TiffKind | None = None
    heif: Any = None  # a HeifImage
    jpeg_xl: JpegXlKind | None = None


class _Stored(NamedTuple):
    """What was in a file, not turned upright yet."""

    channels: np.ndarray
    exif: Callable[[], Image.Exif]
    profile: bytes | None
    companions: Companions
    is_upright: bool = False  # whatever EXIF says
    more: str | None = None  # what else is in the file, and is left out


def read_picture(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> Picture:
    """Reads a picture: grey, palette, RGB, CMYK, with or without alpha, of 8 or 16 bits.

    Args:
        path: a file of a format of `FORMATS`; of several frames the first is taken.
        max_pixels: larger ones are refused before they are decoded.

    Raises:
        InputError: missing, empty, damaged, truncated, too large, or of a kind that is not taken,
            because it is not known to be read right.
    """
    return decode_picture(read_file(path), str(path), max_pixels)


def decode_picture(data: bytes, label: str, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decodes a file's content as `read_picture` does; `label` names it in messages."""
    source = _opened(data, label, max_pixels)
    try:
        stored = _stored(source, data, label)
        picture = _assemble(stored, label)
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{label}: not enough memory: make it smaller") from error
    except Exception as error:  # of any kind: the decoders were not written for damaged files
        if unread := unread_kind(data):
            raise InputError(f"{label}: {unread}") from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{label}: damaged {source.kind} ({reason}): replace the file") from error
    ending = Path(label).suffix.lower()
    if FORMATS.get(ending, source.kind) != source.kind:
        _LOGGER.warning("%s: is no %s but %s: read as such", label, ending, source.kind)
    if stored.more:
        _LOGGER.warning("%s: %s", label, stored.more)
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
    companions = Companions(resolution_of(image), xmp_of(image.info), iptc_of(image))
    profile = None if image.mode == "CMYK" else image.info.get("icc_profile")
    return _assemble(_Stored(pixels, image.getexif, profile, companions), label)


def _opened(data: bytes, label: str, max_pixels: int) -> _Source:
    try:
        if is_tiff(data):
            source = _opened_tiff(data, label)
        elif is_heif(data):
            source = _opened_heif(data)
        elif is_jpeg_xl(data):
            kind = look_at_jpeg_xl(data, label)
            source = _Source("JPEGXL", kind.size, None, jpeg_xl=kind)
        else:
            image = Image.open(io.BytesIO(_for_pil(data)), formats=_BY_PIL)
            name = "JPEG" if image.format == "MPO" else str(image.format)
            source = _Source(name, image.size, image)
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(f"{label}: far too many pixels: {_most(max_pixels)}") from error
    except Exception as error:  # of any kind, as above
        if unread := unread_kind(data):
            raise InputError(f"{label}: {unread}") from error
        raise InputError(f"{label}: not a picture, or a damaged one: {_READABLE}") from error
    width, height = source.size
    if width * height > max_pixels:
        raise InputError(f"{label}: {width} x {height} pixels: {_most(max_pixels)}")
    return source


def _most(max_pixels: int) -> str:
    return f"at most {max_pixels / 1e6:g} megapixels are taken (--max-megapixels): make it smaller"


def _for_pil(data: bytes) -> bytes:
    """The file; a JPEG of 12 bits as one of 8, of which PIL reads all but the pixels."""
    at = deep_jpeg(data)
    return data if at is None else data[:at] + b"\x08" + data[at + 1 :]


def _opened_tiff(data: bytes, label: str) -> _Source:
    if unread := unread_kind(data):
        raise InputError(f"{label}: {unread}")
    kind = look_at_tiff(data, label)
    try:
        image = Image.open(io.BytesIO(data), formats=("TIFF",))
    except Exception:  # which is for its fields alone
        image = None
    return _Source("TIFF", kind.size, image, tiff=kind)


def _opened_heif(data: bytes) -> _Source:
    import pi_heif  # few files need it

    check_heif_items(data)
    file = pi_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
    image = file[file.primary_index]
    return _Source("HEIF", image.size, None, heif=image)


def _stored(source: _Source, data: bytes, label: str) -> _Stored:
    if source.tiff is not None:
        return _stored_tiff(source.image, source.tiff, data, label)
    if source.heif is not None:
        return _stored_heif(source.heif, label)
    if source.jpeg_xl is not None:
        return _stored_jpeg_xl(source.jpeg_xl, data, label)
    image = source.image
    assert image is not None
    profile = image.info.get("icc_profile")
    companions = Companions(resolution_of(image))
    if source.kind == "PNG":
        chunks = png.chunks_of(data)
        if png.has_color_points(chunks) or not profile:
            profile = png.profile_of(chunks, label)
        image.load()  # which finds damage that libpng passes over
        if (grey := png.transparent_grey(data, chunks)) is not None:
            image.info["transparency"] = grey
        deep = png.bit_depth(data) == 16
        channels = png.decode_deep(data, chunks) if deep else _eight_bits(image, label)
        companions = companions._replace(text=png.text_of(chunks))
    elif source.kind == "AVIF":
        avif = look_at_avif(data, label)
        profile = profile or avif.profile
        channels = _of_bits(imagecodecs.avif_decode, data, avif.bits, image, label)
    elif source.kind == "JPEG2000":
        jpeg2000 = look_at_jpeg2000(data, label)
        profile = jpeg2000.profile
        channels = _of_bits(imagecodecs.jpeg2k_decode, data, jpeg2000.bits, image, label)
    elif (at := deep_jpeg(data)) is not None:
        channels = _widened(_decode_deep_jpeg(data, at, image, label), 12)
        companions = companions._replace(iptc=iptc_of(image))
    else:
        image.load()
        channels = _eight_bits(image, label)
        companions = companions._replace(iptc=iptc_of(image), jpeg=jpeg_tables_of(image))
    companions = companions._replace(xmp=xmp_of(image.info))
    if image.mode == "CMYK":
        profile = None
    more = _others(image, companions.xmp)
    return _Stored(channels, image.getexif, profile, companions, more=more)


def _decode_deep_jpeg(data: bytes, frame: int, image: Image.Image, label: str) -> np.ndarray:
    """A JPEG of 12 bits, whose picture begins behind `frame`; PIL has read its header."""
    if image.mode not in ("L", "RGB"):
        raise InputError(f"{label}: JPEG of 12 bits and of inks: save it as PNG or TIFF of 16 bits")
    if b"\xff\xd9" not in data[frame:]:  # what is missing would be made up
        raise ValueError("truncated")
    return imagecodecs.jpeg8_decode(data)


def _stored_tiff(image: Image.Image | None, kind: TiffKind, data: bytes, label: str) -> _Stored:
    profile = kind.profile
    channels = decode_tiff(data, label)
    if kind.has_inks:
        channels = _without_inks(channels, profile, label)
    if kind.has_inks:
        profile = None
    resolution = None if image is None else resolution_of(image)
    companions = Companions(resolution, kind.xmp, kind.iptc, geo=kind.fields)
    exif = image.getexif if image is not None else functools.partial(load_exif, data)
    more = " and ".join(
        said for said, holds in ((_DEEP, kind.deep), (_FRAMES, kind.pages > 1)) if holds
    )
    return _Stored(channels, exif, profile, companions, more=more or None)


def _stored_heif(image: Any, label: str) -> _Stored:
    profile, points = image.info.get("icc_profile"), image.info.get("nclx_profile")
    if points:
        numbers = points["color_primaries"], points["transfer_characteristics"]
        named = profile_of_code_points(int(numbers[0]), int(numbers[1]), label)
        profile = profile or named
    if image.premultiplied_alpha:
        raise InputError(f"{label}: its alpha is multiplied into its colours: save it as PNG")
    exif = functools.partial(load_exif, image.info.get("exif") or b"")
    companions = Companions(xmp=xmp_of(image.info))
    more = _BEHIND if image.info.get("aux") or image.info.get("depth_images") else None
    pixels = np.array(image)
    if pixels.dtype == np.uint16:  # moved up to the highest bits
        bits = image.info["bit_depth"]
        pixels = _widened(pixels >> (16 - bits), bits)
    # Boxes say which way up it is, whatever EXIF says, and that has been done.
    return _Stored(pixels, exif, profile, companions, is_upright=True, more=more)


def _stored_jpeg_xl(kind: JpegXlKind, data: bytes, label: str) -> _Stored:
    if kind.is_jpeg:  # which comes with all that it had
        jpeg = bytes(imagecodecs.jpegxl_decode_jpeg(data, numthreads=0))
        return _stored(_opened(jpeg, label, math.prod(kind.size)), jpeg, label)
    pixels = _widened(decode_jpeg_xl(data, kind, label), kind.bits)
    exif = functools.partial(load_exif, kind.exif or b"")
    more = _FRAMES if kind.several else None
    return _Stored(pixels, exif, kind.profile, Companions(xmp=kind.xmp), is_upright=True, more=more)


def _assemble(stored: _Stored, label: str) -> Picture:
    """Splits stored channels, and puts them upright."""
    channels = np.atleast_3d(stored.channels)
    grey = channels.shape[2] < 3
    rgb = _as_rgb(channels[:, :, 0]) if grey else channels[:, :, :3]
    alpha = channels[:, :, -1] if channels.shape[2] in (2, 4) else None
    found = read_exif(stored.exif, label)
    companions = stored.companions._replace(xmp=upright_xmp(stored.companions.xmp))
    if tells_of_others(companions.xmp):
        companions = companions._replace(xmp=None)
    if found.orientation in _UPRIGHT and not stored.is_upright:
        turn = _UPRIGHT[found.orientation]
        rgb, alpha = turn(rgb), alpha if alpha is None else turn(alpha)
        if companions.geo:
            _LOGGER.warning("%s: is turned, which its GeoTIFF fields are not: left out", label)
            companions = companions._replace(geo=())
        if found.orientation in _SIDEWAYS:
            companions = turned_sideways(companions)
    profile = stored.profile
    if not profile and found.is_adobe_rgb and not grey:
        profile = adobe_rgb()
    return Picture(
        np.ascontiguousarray(rgb),
        alpha if alpha is None else np.ascontiguousarray(alpha),
        grey,
        _checked_profile(profile, grey, label),
        found.kept,
        companions,
    )


def _as_rgb(grey: np.ndarray) -> np.ndarray:
    """Three channels that are equal: OpenCV is ten times as fast as NumPy, and lets others run."""
    if not grey.size:
        return np.empty((*grey.shape, 3), grey.dtype)
    return cv2.cvtColor(np.ascontiguousarray(grey), cv2.COLOR_GRAY2RGB)


def _checked_profile(profile: bytes | None, grey: bool, label: str) -> bytes | None:
    if not profile:
        return None
    check_range(profile, label)
    if is_usable(profile, grey):
        return profile
    _LOGGER.warning("%s: its colour profile is unusable: left out, and taken as sRGB", label)
    return None


def _others(image: Image.Image, xmp: bytes | None) -> str | None:
    """What is said of other pictures, frames or pages in the file."""
    try:
        several = getattr(image, "n_frames", 1) > 1
    except Exception:  # they are damaged, which is no reason to refuse the first
        several = False
    if image.format == "MPO" or tells_of_others(xmp):
        return _BEHIND if several or tells_of_others(xmp) else None
    return _FRAMES if several else None


def _of_bits(
    decode: Callable[[bytes], np.ndarray], data: bytes, bits: int, image: Image.Image, label: str
) -> np.ndarray:
    """Pixels of so many bits over the whole range of their type; PIL makes 8 of all."""
    if bits != 8 and getattr(image, "n_frames", 1) > 1:
        raise InputError(
            f"{label}: an animation of {bits} bits a channel: save its first picture as PNG"
        )
    image.load()
    if bits == 8:
        return _eight_bits(image, label)
    pixels = np.atleast_3d(decode(data))
    if pixels.shape[:2] != image.size[::-1]:
        raise ValueError("two decoders find two sizes")
    return _widened(pixels, bits)


def _widened(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Values of so many bits over the whole range of 8 or 16."""
    kind = np.uint8 if bits <= 8 else np.uint16
    return np.rint(pixels * (np.iinfo(kind).max / (2**bits - 1))).astype(kind)


def _eight_bits(image: Image.Image, label: str) -> np.ndarray:
    if image.mode == "CMYK":
        return np.asarray(_cmyk_to_srgb(image, image.info.get("icc_profile"), label))
    if image.mode in ("I", "F", "LAB", "HSV"):
        raise InputError(
            f"{label}: pixels of kind {image.mode}: convert them to RGB of 8 or 16 bits"
        )
    grey = image.mode in ("1", "L", "LA", "La")
    transparent = image.has_transparency_data
    mode = ("LA" if grey else "RGBA") if transparent else "L" if grey else "RGB"
    return np.asarray(image if image.mode == mode else image.convert(mode))


def _without_inks(channels: np.ndarray, profile: bytes | None, label: str) -> np.ndarray:
    """CMYK, or CMYK and alpha, as RGB of 8 bits."""
    channels = to_uint8(channels)
    height, width, _ = channels.shape
    inks = Image.frombytes("CMYK", (width, height), channels[:, :, :4].tobytes())
    rgb = np.asarray(_cmyk_to_srgb(inks, profile, label))
    return np.concatenate([rgb, channels[:, :, 4:]], 2)


def _cmyk_to_srgb(image: Image.Image, profile: bytes | None, label: str) -> Image.Image:
    """Through the file's profile; without one, as if inks were ideal."""
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
