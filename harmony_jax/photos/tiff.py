"""TIFF: which kinds there are, and their pixels.

PIL reads fewer kinds, some as something else, and in damaged files libtiff inside it writes to the
terminal.
"""

import io
import math
import operator
from typing import Literal, NamedTuple

import imagecodecs
import numpy as np
import tifffile
from jaxtyping import UInt, UInt8, UInt16

from harmony_jax.errors import InputError
from harmony_jax.photos.color import is_usable

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _INKS, _YCBCR = 0, 1, 2, 3, 5, 6
_RAW_MEANINGS = (32803, 34892)  # a sensor's mosaic, and its linear values
_COLORS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _INKS: 4, _PALETTE: 1}
_MULTIPLIED, _SEPARATE = 1, 2  # kinds of alpha, of ExtraSamples
_UNSIGNED, _FLOAT = 1, 3  # of SampleFormat
_DNG_VERSION, _INK_SET, _PROFILE = 50706, 332, 34675
_ORDERS: dict[str, Literal["little", "big"]] = {"<": "little", ">": "big"}
_SHALLOW = (np.bool_, np.uint8, np.uint16)
_DEEP = (np.uint32, np.float16, np.float32)  # read as 16 bits
_ROUNDING = 1e-3  # that floating point numbers may be off by
_GEO_TAGS = (33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113)  # the last two are GDAL's
_OLD_JPEG, _JPEG, _FAX = 6, 7, (2, 3, 4, 32771)  # kinds of compression


class TiffKind(NamedTuple):
    """What a file's first picture is.

    Attributes:
        size: width and height, in pixels.
        has_inks: whether it is CMYK.
        deep: whether its numbers have more than 16 bits, or are of floating point.
        fields: those of GeoTIFF, with their types and values.
        profile: its colour profile.
        xmp: its XMP.
        iptc: its IPTC.
        pages: how many pictures there are.
    """

    size: tuple[int, int]
    has_inks: bool
    deep: bool
    fields: tuple[tuple[int, int, object], ...]
    profile: bytes | None
    xmp: bytes | None
    iptc: bytes | None
    pages: int


def is_tiff(data: bytes) -> bool:
    """Whether a file begins as TIFF or BigTIFF does."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def look_at_tiff(data: bytes, label: str) -> TiffKind:
    """What is in a file, of which the pixels are not looked at.

    Raises:
        InputError: a kind that is not taken, which the message names.
        Exception: of many kinds, for a damaged file.
    """
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        _check_kind(page, label)
        fields = tuple(
            (tag.code, int(tag.dtype), tag.value)
            for code in _GEO_TAGS
            if (tag := page.tags.get(code)) is not None
        )
        return TiffKind(
            (operator.index(page.imagewidth), operator.index(page.imagelength)),
            int(page.photometric) == _INKS,
            page.dtype in _DEEP,
            fields,
            _bytes_of(page, _PROFILE),
            _bytes_of(page, 700),
            _iptc_of(page),
            _count(file),
        )


def decode_tiff(data: bytes, label: str) -> UInt[np.ndarray, "height width channels"]:
    """Decodes the first picture of a file, not turned upright.

    Args:
        data: the file, of a kind that `look_at_tiff` takes.
        label: names it in messages.

    Returns:
        uint8, or uint16 over its whole range: grey, RGB or CMYK, or one of them with alpha, which
        is not multiplied in.

    Raises:
        InputError: there is no decoder for its compression.
        Exception: of many kinds, for a damaged file.
    """
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        _check_kind(page, label)
        if _is_for_libtiff(page):
            return _by_libtiff(data, page)
        meaning, samples = _meaning(page), page.samplesperpixel
        _check_parts(data, page)
        pixels = page.asarray()
        if pixels.dtype in _DEEP:
            pixels = _narrowed(pixels, label)
        if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and samples > 1:
            pixels = np.moveaxis(pixels.reshape(samples, *page.shape[-2:]), 0, -1)
        pixels = pixels.reshape(page.imagelength, page.imagewidth, samples)
        if meaning == _PALETTE:
            assert page.colormap is not None
            return _by_palette(page.colormap, pixels)
        if pixels.dtype == bool:
            pixels = pixels.view(np.uint8)
        pixels = _widened(pixels, min(page.bitspersample, 8 * pixels.itemsize))
        if meaning == _WHITE_IS_ZERO:
            pixels[:, :, 0] = np.iinfo(pixels.dtype).max - pixels[:, :, 0]
        colors, extra = _COLORS[meaning], _extra_kind(page)
    if samples == colors or extra not in (_MULTIPLIED, _SEPARATE):  # a selection or the like
        return pixels[:, :, :colors]
    pixels = pixels[:, :, : colors + 1]
    return _unmultiplied(pixels) if extra == _MULTIPLIED else pixels


def _check_kind(page: tifffile.TiffPage, label: str) -> None:
    """Raises InputError unless what the numbers mean is known to be read right."""
    meaning = _meaning(page)
    raw = any(
        isinstance(nested, tifffile.TiffPage) and int(nested.photometric) in _RAW_MEANINGS
        for nested in page.pages or ()
    )
    if meaning in _RAW_MEANINGS or raw or _DNG_VERSION in page.tags:
        raise InputError(
            f"{label}: a camera's raw file: develop it first, to TIFF of 16 bits or to JPEG"
        )
    bits = page.bitspersample if isinstance(page.bitspersample, int) else max(page.bitspersample)
    deep = bits in (16, 24, 32) and meaning == _RGB and isinstance(page.bitspersample, int)
    reason = None
    if deep and page.sampleformat == _FLOAT:
        # Linear light, or sRGB's numbers: without a profile nothing tells.
        if not is_usable(_bytes_of(page, _PROFILE) or b"", grey=False):
            reason = f"floating point numbers of {bits} bits without a usable colour profile"
    elif deep and bits == 32 and page.sampleformat == _UNSIGNED:
        pass  # over their whole range, as TIFF has them
    elif page.tags.get("SampleFormat") is not None and page.sampleformat != _UNSIGNED:
        names = {2: "signed numbers", 3: "floating point numbers"}
        kind = names.get(page.sampleformat, f"numbers of kind {page.sampleformat}")
        reason = f"{kind} of {bits} bits"
    elif bits > 16:
        reason = f"{bits} bits a channel"
    elif meaning not in (*_COLORS, _PALETTE, _YCBCR):
        reason = f"colours of kind {_name(tifffile.PHOTOMETRIC, meaning)}"
    elif (page.is_tiled and getattr(page, "tiledepth", 1) > 1) or page.imagedepth > 1:
        reason = "a volume"
    else:
        reason = _unread_layout(page, bits)
    if reason is not None:
        raise InputError(
            f"{label}: this kind of TIFF is not taken ({reason}): save it as RGB of 8 or 16 bits"
        )


def _unread_layout(page: tifffile.TiffPage, bits: int) -> str | None:
    """Why numbers of a known meaning cannot be had, or None."""
    meaning, samples, compression = _meaning(page), page.samplesperpixel, int(page.compression)
    name = _name(tifffile.PHOTOMETRIC, meaning)
    if page.planarconfig not in (tifffile.PLANARCONFIG.CONTIG, tifffile.PLANARCONFIG.SEPARATE):
        return "pixels in an unknown order"
    if _is_for_libtiff(page):
        known = (1, 1) if compression in _FAX else (8, 1), (8, 3)
        return None if (bits, samples) in known else f"{name} of {bits} bits"
    if not isinstance(page.bitspersample, int) or page.dtype not in (*_SHALLOW, *_DEEP):
        return f"{name} of {bits} bits"
    if bits < 8 and (samples > 1 or meaning == _INKS):
        return f"{name} of {samples} channels of {bits} bits"
    if meaning == _PALETTE and (bits > 8 or samples > 2 or page.colormap is None):
        return f"{name} of {samples} channels of {bits} bits"
    if samples < _COLORS[meaning]:
        return f"{name} of {samples} channels"
    if meaning == _PALETTE and samples == 2 and _extra_kind(page) != _SEPARATE:
        return "a palette with alpha of another kind"
    if meaning == _INKS and (tag := page.tags.get(_INK_SET)) is not None and tag.value != 1:
        return "inks other than cyan, magenta, yellow and black"
    try:
        tifffile.TIFF.DECOMPRESSORS[compression]
    except Exception:  # KeyError of one unknown, others of one not built in
        return f"compression {_name(tifffile.COMPRESSION, compression)}"
    return None


def _is_for_libtiff(page: tifffile.TiffPage) -> bool:
    """Whether colours are stored as brightness and difference, by JPEG as it first was, or as fax.

    imagecodecs' own decoder of fax loses some lines of libtiff's test picture.
    """
    return int(page.compression) in (_OLD_JPEG, *_FAX) or _meaning(page) == _YCBCR


def _by_libtiff(data: bytes, page: tifffile.TiffPage) -> UInt8[np.ndarray, "h w channels"]:
    """Decodes a file to grey or RGB; not turned, which EXIF's field of orientation tells too."""
    compression = int(page.compression)
    if compression != _OLD_JPEG:  # whose parts lie anywhere
        _check_parts(data, page)
    if compression not in (_OLD_JPEG, *_FAX):  # libtiff would pass over damage
        for start, size in zip(page.dataoffsets, page.databytecounts, strict=True):
            tifffile.TIFF.DECOMPRESSORS[compression](data[start : start + size])
    turned = page.tags.get("Orientation")
    if turned is not None and turned.valueoffset + 2 <= len(data):
        at, upright = turned.valueoffset, (1).to_bytes(2, _ORDERS[page.parent.byteorder])
        data = data[:at] + upright + data[at + 2 :]
    pixels = imagecodecs.tiff_decode(data, index=0, asrgb=True)
    if pixels.shape[:2] != (page.imagelength, page.imagewidth) or pixels.dtype != np.uint8:
        raise ValueError("two decoders find two sizes")
    return pixels[:, :, : 1 if page.samplesperpixel == 1 else 3]


def _by_palette(
    colors: UInt16[np.ndarray, "3 count"], pixels: np.ndarray
) -> UInt8[np.ndarray, "h w channels"]:
    """Colours of 8 bits, with the alpha channel if there is one."""
    shift = 0 if colors.max() < 256 else 8  # some programs store 8 bits in the 16
    indices = pixels[:, :, 0].astype(np.uint8)
    found = np.take((colors >> shift).astype(np.uint8).T, indices, 0)
    return np.concatenate([found, pixels[:, :, 1:]], 2)


def _check_parts(data: bytes, page: tifffile.TiffPage) -> None:
    """Raises ValueError if parts of the picture are missing, which would be read as black."""
    parts = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    if len(parts) < math.prod(page.chunked) or any(
        not size or start + size > len(data) for start, size in parts
    ):
        raise ValueError("some of the pixels are missing")


def _extra_kind(page: tifffile.TiffPage) -> int:
    """What the first channel beside colours is; as in PIL, alpha where nothing tells."""
    tag = page.tags.get("ExtraSamples")
    return int(np.ravel(tag.value)[0]) if tag else _SEPARATE


def _meaning(page: tifffile.TiffPage) -> int:
    """What decoded numbers are: the decoder of JPEG makes RGB of YCbCr."""
    meaning = int(page.photometric)
    return _RGB if meaning == _YCBCR and int(page.compression) == _JPEG else meaning


def _name(kinds: type, value: int) -> str:
    try:
        return str(kinds(value).name)
    except ValueError:
        return str(value)


def _count(file: tifffile.TiffFile) -> int:
    try:
        return len(file.pages)
    except Exception:  # others are damaged, which is no reason to refuse the first
        return 1


def _bytes_of(page: tifffile.TiffPage, code: int) -> bytes | None:
    tag = page.tags.get(code)
    if tag is None:
        return None
    value = tag.value
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogateescape")
    try:
        return bytes(value) or None
    except (TypeError, ValueError):
        return None


def _iptc_of(page: tifffile.TiffPage) -> bytes | None:
    """Some programs say that its bytes are numbers of 32 bits, in the file's order."""
    tag = page.tags.get(33723)
    if tag is not None and int(tag.dtype) == 4:
        return np.ravel(tag.value).astype(f"{page.parent.byteorder}u4").tobytes() or None
    return _bytes_of(page, 33723)


def _widened(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Values of fewer bits over the whole range of their type."""
    most = np.iinfo(pixels.dtype).max
    if bits == 8 * pixels.itemsize:
        return pixels
    return np.rint(pixels * (most / (2**bits - 1))).astype(pixels.dtype)


def _narrowed(pixels: np.ndarray, label: str) -> UInt16[np.ndarray, "..."]:
    """Numbers of 32 bits, or of floating point from 0 to 1, as 16 bits.

    Raises:
        InputError: some are brighter than white (HDR), or no numbers.
    """
    if pixels.dtype.kind == "u":
        return ((pixels.astype(np.uint64) * 65535 + 2**31) // (2**32 - 1)).astype(np.uint16)
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # NaN too
        raise InputError(
            f"{label}: its numbers go from {low:g} to {high:g}, where 0 is black and 1 white: an "
            "HDR picture: save it as SDR, of 16 bits"
        )
    return np.rint(np.clip(pixels.astype(np.float32), 0, 1) * 65535).astype(np.uint16)


def _unmultiplied(pixels: np.ndarray) -> np.ndarray:
    """Colours of which alpha has been multiplied into, as they were."""
    most = np.iinfo(pixels.dtype).max
    alpha = pixels[:, :, -1:].astype(np.float64)
    colors = pixels[:, :, :-1] * (most / np.maximum(alpha, 1))
    return np.concatenate([np.rint(np.minimum(colors, most)), alpha], 2).astype(pixels.dtype)
