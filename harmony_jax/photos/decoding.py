"""Picture files to upright pixels, with what came with them.

Data sets are read by `harmony_jax.data.codecs`, which is faster and follows the benchmark exactly.
"""

import functools
import io
import logging
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import imagecodecs
import numpy as np
from PIL import Image, ImageCms

from harmony_jax.disk import read_file
from harmony_jax.errors import InputError
from harmony_jax.photos import metadata, png
from harmony_jax.photos.boxes import check_heif_items, look_at_avif, look_at_jpeg2000
from harmony_jax.photos.color import adobe_rgb, check_range, is_usable, profile_of_code_points
from harmony_jax.photos.jpeg_xl import JpegXlKind, decode_jpeg_xl, is_jpeg_xl, look_at_jpeg_xl
from harmony_jax.photos.kinds import FORMATS, deep_jpeg, is_heif, is_tiff, refused_kind
from harmony_jax.photos.picture import MAX_PIXELS, Companions, Picture, full_range, to_uint8
from harmony_jax.photos.tiff import TiffKind, decode_tiff, look_at_tiff

# Kinds that PIL opens, by its names; HEIF, TIFF and JPEG XL are read by other libraries.
_BY_PIL = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "AVIF", "JPEG2000")
_READABLE = "expected JPEG, PNG, WebP, TIFF, HEIC, AVIF, BMP, GIF, JPEG 2000 or JPEG XL"

# What turns a picture upright, by EXIF orientation.
_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: np.rot90(np.fliplr(pixels)),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(np.fliplr(pixels), -1),
    8: np.rot90,
}
_SIDEWAYS = (5, 6, 7, 8)  # rows become columns

_FRAMES = "holds more than one picture: the first is taken"
_DEEP = "holds numbers of 32 bits or of floating point: 16 bits are kept"
_OTHERS = "holds a gain map or further pictures: they are left out, and the XMP about them"

_LOGGER = logging.getLogger(__name__)

# Without a handler, what these libraries log about damaged files would go to the terminal.
for _library in ("PIL", "imagecodecs", "tifffile"):
    logging.getLogger(_library).addHandler(logging.NullHandler())


class _Stored(NamedTuple):
    """What was in a file, not turned upright yet; `remarks` become warnings."""

    channels: np.ndarray
    exif: Callable[[], Image.Exif]
    profile: bytes | None
    companions: Companions
    remarks: list[str]
    is_upright: bool = False  # whatever EXIF says


class _Source(NamedTuple):
    """A file whose header has been read, and how to read the rest."""

    kind: str  # as in FORMATS
    size: tuple[int, int]
    read: Callable[[], _Stored]


def read_picture(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> Picture:
    """Reads a picture of one of the `FORMATS`; of several frames the first is taken.

    Pictures of more than `max_pixels` are refused before they are decoded.
    """
    return decode_picture(read_file(path), str(path), max_pixels)


def decode_picture(
    data: bytes, label: str, max_pixels: int = MAX_PIXELS, is_mask: bool = False
) -> Picture:
    """Decodes a file's content as `read_picture` does; messages name it by `label`.

    A mask may also be a TIFF of floating point numbers from 0 to 1.
    """
    source = _opened(data, label, max_pixels, is_mask)
    with _named(label, data, f"damaged {source.kind} ({{}}): replace the file"):
        picture, remarks = _assembled(source.read())
    ending = Path(label).suffix.lower()
    if FORMATS.get(ending, source.kind) != source.kind:
        remarks.insert(0, f"is not {ending} but {source.kind}: read as such")
    for remark in remarks:
        _LOGGER.warning("%s: %s", label, remark)
    return picture


def count_pixels(
    data: bytes, label: str, max_pixels: int = MAX_PIXELS, is_mask: bool = False
) -> int:
    """How many pixels a file claims to have; raises InputError as `decode_picture` does."""
    return math.prod(_opened(data, label, max_pixels, is_mask).size)


def picture_of(image: Image.Image) -> Picture:
    """A PIL image as a picture, turned as its EXIF orientation says."""
    remarks: list[str] = []
    try:
        sixteen_bits = image.mode.startswith("I;16")
        pixels = np.asarray(image, np.uint16) if sixteen_bits else _eight_bits(image, remarks)
        companions = Companions(
            metadata.resolution_of(image), metadata.xmp_of(image.info), metadata.iptc_of(image)
        )
        profile = None if image.mode == "CMYK" else image.info.get("icc_profile")
        stored = _Stored(pixels, image.getexif, profile, companions, remarks)
        picture, remarks = _assembled(stored)
    except InputError as error:
        raise InputError(f"PIL image: {error}") from error
    for remark in remarks:
        _LOGGER.warning("PIL image: %s", remark)
    return picture


@contextmanager
def _named(label: str, data: bytes, damage: str) -> Iterator[None]:
    """Turns errors into InputErrors that name the file; `damage` describes those of decoders."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{label}: {error}") from error
    except MemoryError as error:
        raise InputError(f"{label}: not enough memory: make it smaller") from error
    except Exception as error:  # of any kind: the decoders were not written for damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        message = refused_kind(data) or damage.format(reason)
        raise InputError(f"{label}: {message}") from error


def _opened(data: bytes, label: str, max_pixels: int, is_mask: bool) -> _Source:
    """Reads the header of a file, and refuses too many pixels."""
    most = f"at most {max_pixels / 1e6:g} megapixels are taken (max_megapixels): make it smaller"
    with _named(label, data, f"not a picture, or a damaged one: {_READABLE}"):
        try:
            source = _header(data, is_mask)
        except Image.DecompressionBombError as error:
            raise InputError(f"far too many pixels: {most}") from error
        width, height = source.size
        if width * height > max_pixels:
            raise InputError(f"{width} x {height} pixels: {most}")
    return source


def _header(data: bytes, is_mask: bool = False) -> _Source:
    if is_tiff(data):
        if (refused := refused_kind(data)) is not None:
            raise InputError(refused)
        tiff = look_at_tiff(data, is_mask)
        return _Source("TIFF", tiff.size, functools.partial(_read_tiff, data, tiff))
    if is_heif(data):
        import pi_heif  # few files need it

        check_heif_items(data)
        file = pi_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
        heif = file[file.primary_index]
        return _Source("HEIF", heif.size, functools.partial(_read_heif, heif))
    if is_jpeg_xl(data):
        kind = look_at_jpeg_xl(data)
        return _Source("JPEGXL", kind.size, functools.partial(_read_jpeg_xl, data, kind))
    content = data
    if (at := deep_jpeg(data)) is not None:  # with 8 bits claimed, PIL reads all but the pixels
        content = data[:at] + b"\x08" + data[at + 1 :]
    image = Image.open(io.BytesIO(content), formats=_BY_PIL)
    name = "JPEG" if image.format == "MPO" else str(image.format)
    return _Source(name, image.size, functools.partial(_read_by_pil, data, name, image))


def _read_by_pil(data: bytes, kind: str, image: Image.Image) -> _Stored:
    profile = image.info.get("icc_profile")
    companions = Companions(metadata.resolution_of(image))
    remarks: list[str] = []
    if kind == "PNG":
        chunks = png.chunks_of(data)
        if not profile or b"cICP" in dict(chunks):  # which overrides an ICC profile
            profile = png.profile_of(chunks)
        image.load()  # which finds damage that libpng ignores
        if (grey := png.transparent_grey(data, chunks)) is not None:
            image.info["transparency"] = grey
        deep = png.bit_depth(data) == 16
        channels = png.decode_deep(data, chunks) if deep else _eight_bits(image, remarks)
        companions = companions._replace(text=png.text_of(chunks))
    elif kind == "AVIF":
        bits, described = look_at_avif(data)
        profile = profile or described
        channels = _of_bits(imagecodecs.avif_decode, data, bits, image)
    elif kind == "JPEG2000":
        bits, profile = look_at_jpeg2000(data)
        channels = _of_bits(imagecodecs.jpeg2k_decode, data, bits, image)
    elif (at := deep_jpeg(data)) is not None:
        if image.mode not in ("L", "RGB"):
            raise InputError("JPEG of 12 bits and of inks: save it as PNG or TIFF of 16 bits")
        if b"\xff\xd9" not in data[at:]:  # the decoder would make up what is missing
            raise ValueError("truncated")
        channels = full_range(imagecodecs.jpeg8_decode(data), 12)
        companions = companions._replace(iptc=metadata.iptc_of(image))
    else:
        image.load()
        channels = _eight_bits(image, remarks)
        companions = companions._replace(
            iptc=metadata.iptc_of(image), jpeg=metadata.jpeg_tables_of(image)
        )
    companions = companions._replace(xmp=metadata.xmp_of(image.info))
    if image.mode == "CMYK":
        profile = None
    if metadata.describes_others(companions.xmp) or (image.format == "MPO" and _has_frames(image)):
        remarks.append(_OTHERS)
    elif _has_frames(image):
        remarks.append(_FRAMES)
    return _Stored(channels, image.getexif, profile, companions, remarks)


def _read_tiff(data: bytes, kind: TiffKind) -> _Stored:
    try:
        image = Image.open(io.BytesIO(data), formats=("TIFF",))
    except Exception:  # it is only needed for its fields
        image = None
    remarks = []
    if kind.is_deep:
        remarks.append(_DEEP)
    if kind.has_more:
        remarks.append(_FRAMES)
    channels, profile = decode_tiff(data), kind.profile
    if kind.has_inks:
        eight, size = to_uint8(channels), channels.shape[1::-1]
        inks = Image.frombytes("CMYK", size, eight[:, :, :4].tobytes())
        channels = np.concatenate([_cmyk_to_srgb(inks, profile, remarks), eight[:, :, 4:]], 2)
        profile = None
    exif: Callable[[], Image.Exif] = functools.partial(metadata.load_exif, data)
    companions = kind.companions
    if image is not None:
        exif = image.getexif
        companions = companions._replace(resolution=metadata.resolution_of(image))
    return _Stored(channels, exif, profile, companions, remarks)


def _read_heif(image: Any) -> _Stored:
    profile, points = image.info.get("icc_profile"), image.info.get("nclx_profile")
    if points:  # looked at even beside a profile: HDR is refused
        numbers = points["color_primaries"], points["transfer_characteristics"]
        described = profile_of_code_points(int(numbers[0]), int(numbers[1]))
        profile = profile or described
    if image.premultiplied_alpha:
        raise InputError("its alpha is multiplied into its colours: save it as PNG")
    exif = functools.partial(metadata.load_exif, image.info.get("exif") or b"")
    companions = Companions(xmp=metadata.xmp_of(image.info))
    remarks = [_OTHERS] if image.info.get("aux") or image.info.get("depth_images") else []
    pixels = np.array(image)
    if pixels.dtype == np.uint16:  # moved up to the highest bits
        bits = image.info["bit_depth"]
        pixels = full_range(pixels >> (16 - bits), bits)
    # The decoder has turned it as its boxes say, whatever EXIF says.
    return _Stored(pixels, exif, profile, companions, remarks, is_upright=True)


def _read_jpeg_xl(data: bytes, kind: JpegXlKind) -> _Stored:
    if kind.is_jpeg:  # restored with everything that it had
        jpeg = _header(bytes(imagecodecs.jpegxl_decode_jpeg(data, numthreads=0)))
        if math.prod(jpeg.size) != math.prod(kind.size):
            raise ValueError("header and pixels do not agree")
        return jpeg.read()
    pixels = full_range(decode_jpeg_xl(data, kind), kind.bits)
    exif = functools.partial(metadata.load_exif, kind.exif or b"")
    remarks = [_FRAMES] if kind.several else []
    companions = Companions(xmp=kind.xmp)
    return _Stored(pixels, exif, kind.profile, companions, remarks, is_upright=True)


def _assembled(stored: _Stored) -> tuple[Picture, list[str]]:
    """Splits the channels and turns them upright; returns the picture and all remarks."""
    channels, remarks = np.atleast_3d(stored.channels), list(stored.remarks)
    grey = channels.shape[2] < 3
    rgb = np.ascontiguousarray(channels[:, :, 0] if grey else channels[:, :, :3])
    if grey:  # OpenCV is ten times as fast as NumPy, and releases the GIL
        size = rgb.shape
        rgb = cv2.cvtColor(rgb, cv2.COLOR_GRAY2RGB) if rgb.size else np.empty((*size, 3), rgb.dtype)
    alpha = channels[:, :, -1] if channels.shape[2] in (2, 4) else None
    exif = metadata.read_exif(stored.exif)
    if exif.is_damaged:
        remarks.append("some of its EXIF is damaged: left out")
    companions = stored.companions._replace(xmp=metadata.upright_xmp(stored.companions.xmp))
    if metadata.describes_others(companions.xmp):
        companions = companions._replace(xmp=None)
    if exif.orientation in _UPRIGHT and not stored.is_upright:
        turn = _UPRIGHT[exif.orientation]
        rgb, alpha = turn(rgb), None if alpha is None else turn(alpha)
        if companions.geo:
            remarks.append("its GeoTIFF fields are left out, because the picture is turned")
            companions = companions._replace(geo=())
        if exif.orientation in _SIDEWAYS:
            companions = metadata.turned_sideways(companions)
    profile = stored.profile or None
    if profile is None and exif.is_adobe_rgb and not grey:
        profile = adobe_rgb()
    if profile is not None:
        check_range(profile)
        if not is_usable(profile, grey):
            remarks.append("its colour profile is unusable: left out, and taken as sRGB")
            profile = None
    alpha = None if alpha is None else np.ascontiguousarray(alpha)
    rgb = np.ascontiguousarray(rgb)
    return Picture(rgb, alpha, grey, profile, exif.kept, companions), remarks


def _has_frames(image: Image.Image) -> bool:
    try:
        return getattr(image, "n_frames", 1) > 1
    except Exception:  # they are damaged, which is no reason to refuse the first
        return False


def _of_bits(
    decode: Callable[[bytes], np.ndarray], data: bytes, bits: int, image: Image.Image
) -> np.ndarray:
    """The pixels of a file of `bits` bits, by `decode` where PIL would reduce them to 8."""
    if bits != 8 and getattr(image, "n_frames", 1) > 1:
        raise InputError(f"an animation of {bits} bits a channel: save its first picture as PNG")
    image.load()
    if bits == 8:
        return _eight_bits(image, [])
    pixels = np.atleast_3d(decode(data))
    if pixels.shape[:2] != image.size[::-1]:
        raise ValueError("two decoders find two sizes")
    return full_range(pixels, bits)


def _eight_bits(image: Image.Image, remarks: list[str]) -> np.ndarray:
    if image.mode == "CMYK":
        return _cmyk_to_srgb(image, image.info.get("icc_profile"), remarks)
    if image.mode in ("I", "F", "LAB", "HSV"):
        raise InputError(f"pixels of kind {image.mode}: convert them to RGB of 8 or 16 bits")
    grey = image.mode in ("1", "L", "LA", "La")
    transparent = image.has_transparency_data
    mode = ("LA" if grey else "RGBA") if transparent else "L" if grey else "RGB"
    return np.asarray(image if image.mode == mode else image.convert(mode))


def _cmyk_to_srgb(image: Image.Image, profile: bytes | None, remarks: list[str]) -> np.ndarray:
    """Converts by the file's profile; without one, as if the inks were ideal."""
    if profile:
        try:
            converted = ImageCms.profileToProfile(
                image, io.BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
            return np.asarray(converted)
        except (ImageCms.PyCMSError, OSError) as error:
            remarks.append(f"its colour profile is unusable ({error}): left out")
    return np.asarray(image.convert("RGB"))
