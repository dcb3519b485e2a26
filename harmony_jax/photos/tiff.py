"""TIFF: what a file holds, and its pixels.

PIL reads fewer variants, some of them wrong, and libtiff inside it writes to the terminal about
damaged files.
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
from harmony_jax.photos.kinds import refusal
from harmony_jax.photos.picture import Companions, full_range

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _INKS, _YCBCR = 0, 1, 2, 3, 5, 6
_RAW_MEANINGS = (32803, 34892)  # a sensor's mosaic, and its linear values
_COLORS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _INKS: 4, _PALETTE: 1}
_MULTIPLIED, _SEPARATE = 1, 2  # kinds of alpha, of ExtraSamples
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3  # of SampleFormat
_XMP, _IPTC, _PROFILE, _INK_SET, _DNG_VERSION = 700, 33723, 34675, 332, 50706
_GEO_TAGS = (33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113)  # the last two are GDAL's
_ORDERS: dict[str, Literal["little", "big"]] = {"<": "little", ">": "big"}
_SHALLOW = (np.bool_, np.uint8, np.uint16)
_DEEP = (np.uint32, np.float16, np.float32, np.float64)  # read as 16 bits
_ROUNDING = 1e-3  # that floating point numbers may be off by
_OLD_JPEG, _JPEG, _FAX = 6, 7, (2, 3, 4, 32771)  # kinds of compression


class TiffKind(NamedTuple):
    """What a file's first picture is."""

    size: tuple[int, int]  # width and height in pixels
    has_inks: bool  # CMYK
    is_deep: bool  # numbers of more than 16 bits, or of floating point
    has_more: bool  # more pictures follow
    profile: bytes | None
    companions: Companions  # XMP, IPTC and GeoTIFF fields


def look_at_tiff(data: bytes, is_mask: bool = False) -> TiffKind:
    """Reads everything but the pixels; damaged files raise exceptions of many kinds.

    Only a mask may have floating point numbers without a profile: its numbers are shares.
    """
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        pages = [one for one in (page, *(page.pages or ())) if isinstance(one, tifffile.TiffPage)]
        meanings = [int(one.photometric) for one in pages]
        if _DNG_VERSION in page.tags or not set(meanings).isdisjoint(_RAW_MEANINGS):
            raise InputError("a camera's raw file: develop it first, to TIFF of 16 bits or to JPEG")
        if (reason := _refused_numbers(page, is_mask) or _refused_layout(page)) is not None:
            raise refusal("TIFF", reason, "RGB of 8 or 16 bits")
        geo = tuple(
            (tag.code, int(tag.dtype), tag.value)
            for code in _GEO_TAGS
            if (tag := page.tags.get(code)) is not None
        )
        try:
            several = len(file.pages) > 1
        except Exception:  # others are damaged, which is no reason to refuse the first
            several = False
        return TiffKind(
            (operator.index(page.imagewidth), operator.index(page.imagelength)),
            int(page.photometric) == _INKS,
            page.dtype in _DEEP,
            several,
            _bytes_of(page, _PROFILE),
            Companions(xmp=_bytes_of(page, _XMP), iptc=_iptc_of(page), geo=geo),
        )


def decode_tiff(data: bytes) -> UInt[np.ndarray, "height width channels"]:
    """Decodes the first picture of a file that `look_at_tiff` takes; it is not turned upright.

    Returns:
        uint8, or uint16 over its whole range: grey, RGB or CMYK, or one of them with alpha, which
        is not multiplied in.
    """
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        if _is_for_libtiff(page):
            return _by_libtiff(data, page)
        meaning, samples = _meaning(page), page.samplesperpixel
        _check_parts(data, page)
        pixels = page.asarray()
        if pixels.dtype in _DEEP:
            pixels = _narrowed(pixels)
        if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and samples > 1:
            pixels = np.moveaxis(pixels.reshape(samples, *page.shape[-2:]), 0, -1)
        pixels = pixels.reshape(page.imagelength, page.imagewidth, samples)
        if meaning == _PALETTE:
            assert page.colormap is not None
            shift = 0 if page.colormap.max() < 256 else 8  # some programs store 8 bits in the 16
            colors = (page.colormap >> shift).astype(np.uint8).T[pixels[:, :, 0].astype(np.uint8)]
            return np.concatenate([colors, pixels[:, :, 1:]], 2)
        if pixels.dtype == bool:
            pixels = pixels.view(np.uint8)
        pixels = full_range(pixels, min(page.bitspersample, 8 * pixels.itemsize))
        if meaning == _WHITE_IS_ZERO:
            pixels[:, :, 0] = np.iinfo(pixels.dtype).max - pixels[:, :, 0]
        count, extra = _COLORS[meaning], _extra_kind(page)
    if samples == count or extra not in (_MULTIPLIED, _SEPARATE):  # a selection or the like
        return pixels[:, :, :count]
    if extra == _MULTIPLIED:
        most = np.iinfo(pixels.dtype).max
        factor = most / np.maximum(pixels[:, :, count : count + 1], 1)
        divided = np.rint(np.minimum(pixels[:, :, :count] * factor, most))
        pixels[:, :, :count] = divided.astype(pixels.dtype)
    return pixels[:, :, : count + 1]


def _refused_numbers(page: tifffile.TiffPage, is_mask: bool) -> str | None:
    """Why it is not known what the numbers mean, or None."""
    meaning, bits = _meaning(page), int(np.max(page.bitspersample))
    if is_mask and page.sampleformat == _FLOAT and meaning in (_BLACK_IS_ZERO, _RGB):
        return None
    deep_rgb = bits in (16, 24, 32) and meaning == _RGB and isinstance(page.bitspersample, int)
    if deep_rgb and page.sampleformat == _FLOAT:
        # Linear light, or sRGB's curve: only a profile tells.
        if is_usable(_bytes_of(page, _PROFILE) or b"", grey=False):
            return None
        return f"floating point numbers of {bits} bits without a usable colour profile"
    if deep_rgb and bits == 32 and page.sampleformat == _UNSIGNED:
        return None  # over their whole range, as TIFF has them
    if page.tags.get("SampleFormat") is not None and page.sampleformat != _UNSIGNED:
        names = {_SIGNED: "signed numbers", _FLOAT: "floating point numbers"}
        kind = names.get(page.sampleformat, f"numbers of kind {page.sampleformat}")
        return f"{kind} of {bits} bits"
    if bits > 16:
        return f"{bits} bits a channel"
    if meaning not in (*_COLORS, _YCBCR):
        return f"colours of kind {_name(tifffile.PHOTOMETRIC, meaning)}"
    if (page.is_tiled and getattr(page, "tiledepth", 1) > 1) or page.imagedepth > 1:
        return "a volume"
    return None


def _refused_layout(page: tifffile.TiffPage) -> str | None:
    """Why numbers of a known meaning cannot be decoded, or None."""
    meaning, samples, compression = _meaning(page), page.samplesperpixel, int(page.compression)
    bits = page.bitspersample
    name = _name(tifffile.PHOTOMETRIC, meaning)
    if page.planarconfig not in (tifffile.PLANARCONFIG.CONTIG, tifffile.PLANARCONFIG.SEPARATE):
        return "pixels in an unknown order"
    if _is_for_libtiff(page):
        known = ((1, 1),) if compression in _FAX else ((8, 1), (8, 3))
        return None if (bits, samples) in known else f"{name} of {bits} bits"
    if not isinstance(bits, int) or page.dtype not in (*_SHALLOW, *_DEEP):
        return f"{name} of {bits} bits"
    few_bits = bits < 8 and (samples > 1 or meaning == _INKS)
    palette = meaning == _PALETTE and (bits > 8 or samples > 2 or page.colormap is None)
    if few_bits or palette or samples < _COLORS[meaning]:
        return f"{name} of {samples} channels of {bits} bits"
    if meaning == _PALETTE and samples == 2 and _extra_kind(page) != _SEPARATE:
        return "a palette with alpha of another kind"
    if meaning == _INKS and (tag := page.tags.get(_INK_SET)) is not None and tag.value != 1:
        return "inks other than cyan, magenta, yellow and black"
    try:
        tifffile.TIFF.DECOMPRESSORS[compression]
    except Exception:  # KeyError for an unknown one, others for one that is not built in
        return f"compression {_name(tifffile.COMPRESSION, compression)}"
    return None


def _is_for_libtiff(page: tifffile.TiffPage) -> bool:
    """Whether libtiff decodes it: YCbCr, JPEG's first form in TIFF, and fax.

    imagecodecs' own fax decoder loses some lines of libtiff's test picture.
    """
    return int(page.compression) in (_OLD_JPEG, *_FAX) or _meaning(page) == _YCBCR


def _by_libtiff(data: bytes, page: tifffile.TiffPage) -> UInt8[np.ndarray, "h w channels"]:
    """Decodes a file to grey or RGB, and keeps libtiff from turning it: EXIF says how, too."""
    compression = int(page.compression)
    if compression != _OLD_JPEG:  # whose parts lie anywhere
        _check_parts(data, page)
    if compression not in (_OLD_JPEG, *_FAX):  # libtiff would ignore damage
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


def _check_parts(data: bytes, page: tifffile.TiffPage) -> None:
    """Raises ValueError if parts of the picture are missing: they would be read as black."""
    parts = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    if len(parts) < math.prod(page.chunked) or any(
        not size or start + size > len(data) for start, size in parts
    ):
        raise ValueError("some of the pixels are missing")


def _extra_kind(page: tifffile.TiffPage) -> int:
    """What the first channel besides colour is; alpha, as in PIL, if the file does not say."""
    tag = page.tags.get("ExtraSamples")
    return int(np.ravel(tag.value)[0]) if tag else _SEPARATE


def _meaning(page: tifffile.TiffPage) -> int:
    """What decoded numbers are: the JPEG decoder turns YCbCr into RGB."""
    meaning = int(page.photometric)
    return _RGB if meaning == _YCBCR and int(page.compression) == _JPEG else meaning


def _name(kinds: type, value: int) -> str:
    try:
        return str(kinds(value).name)
    except ValueError:
        return str(value)


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
    """IPTC, whose bytes some programs store as numbers of 32 bits in the file's byte order."""
    tag = page.tags.get(_IPTC)
    if tag is not None and int(tag.dtype) == 4:
        return np.ravel(tag.value).astype(f"{page.parent.byteorder}u4").tobytes() or None
    return _bytes_of(page, _IPTC)


def _narrowed(pixels: np.ndarray) -> UInt16[np.ndarray, "..."]:
    """Numbers of 32 bits, or of floating point from 0 to 1, as 16 bits."""
    if pixels.dtype.kind == "u":
        return ((pixels.astype(np.uint64) * 65535 + 2**31) // (2**32 - 1)).astype(np.uint16)
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # NaN too
        raise InputError(
            f"its numbers go from {low:g} to {high:g}, where 0 is black and 1 white: an HDR "
            "picture: save it as SDR, of 16 bits"
        )
    return np.rint(np.clip(pixels.astype(np.float32), 0, 1) * 65535).astype(np.uint16)
