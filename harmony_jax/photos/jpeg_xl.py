"""JPEG XL: the header, because imagecodecs decodes pixels but reports neither size nor colours."""

from collections.abc import Sequence
from typing import NamedTuple

import imagecodecs
import numpy as np
from jaxtyping import UInt

from harmony_jax.errors import InputError
from harmony_jax.photos.boxes import boxes_of
from harmony_jax.photos.color import PRIMARIES, check_transfer, make_profile
from harmony_jax.photos.kinds import refusal

CODE_STREAM = b"\xff\x0a"
CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"

# Of ISO/IEC 18181-1: width over height, where the width is not stored.
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_ALPHA = 0  # among the kinds of extra channels
_RGB, _GREY = 0, 1  # colour spaces
_OWN = 2  # white points and primaries that are stored as coordinates
_WHITES = {1: (0.3127, 0.3290), 10: (1 / 3, 1 / 3), 11: (0.314, 0.351)}
_LINEAR, _DCI_CURVE = 8, 17  # transfer functions

# Ways to store a number: an offset, and how many bits are added to it. Two bits choose the way.
Ways = Sequence[tuple[int, int]]
_ENUM: Ways = ((0, 0), (1, 0), (2, 4), (18, 6))
_SIDE: Ways = ((1, 9), (1, 13), (1, 18), (1, 30))
_COORDINATE: Ways = ((0, 19), (524_288, 19), (1_048_576, 20), (2_097_152, 21))


class JpegXlKind(NamedTuple):
    """What a file's picture is."""

    size: tuple[int, int]  # width and height in pixels, upright
    bits: int = 8  # per channel
    profile: bytes | None = None  # None for sRGB
    has_icc: bool = False  # its colours are those of an ICC profile, which cannot be read
    is_jpeg: bool = False  # a packed JPEG, which can be restored as it was
    several: bool = False  # more than one picture
    exif: bytes | None = None
    xmp: bytes | None = None


def is_jpeg_xl(data: bytes) -> bool:
    """Whether a file begins as JPEG XL does, bare or in boxes."""
    return data.startswith((CODE_STREAM, CONTAINER))


def look_at_jpeg_xl(data: bytes) -> JpegXlKind:
    """Reads a file's header; damaged files raise exceptions of several kinds."""
    stream, found = data, {}
    if data.startswith(CONTAINER):
        stream = b""
        for kind, content in boxes_of(data):
            if kind in (b"jxlc", b"jxlp"):
                stream += content[4 if kind == b"jxlp" else 0 :]
            elif kind == b"brob":  # another box, compressed
                found[content[:4]] = imagecodecs.brotli_decode(content[4:])
            else:
                found[kind] = content
    if not stream.startswith(CODE_STREAM):
        raise ValueError("no code stream")
    exif = bytes(found.get(b"Exif", b""))
    return _header(_Bits(stream[2:]))._replace(
        is_jpeg=b"jbrd" in found,
        exif=exif[4 + int.from_bytes(exif[:4], "big") :] or None,
        xmp=bytes(found.get(b"xml ", b"")) or None,
    )


def decode_jpeg_xl(data: bytes, kind: JpegXlKind) -> UInt[np.ndarray, "height width *channels"]:
    """The first picture, upright, with values of `kind.bits` bits."""
    if kind.has_icc:
        raise refusal("JPEG XL", "colours of an ICC profile")
    pixels = imagecodecs.jpegxl_decode(data, index=0)
    if pixels.shape[:2] != kind.size[::-1] or pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError("header and pixels do not agree")
    return pixels


class _Bits:
    """Numbers of few bits, the lowest bit of each byte first."""

    def __init__(self, data: bytes):
        self._data, self._at = data, 0

    def take(self, count: int) -> int:
        end = self._at + count
        if end > 8 * len(self._data):
            raise ValueError("ends in its header")
        first, last = self._at // 8, -(-end // 8)
        number = int.from_bytes(self._data[first:last], "little") >> (self._at % 8)
        self._at = end
        return number & ((1 << count) - 1)

    def flag(self) -> bool:
        return bool(self.take(1))

    def number(self, ways: Ways) -> int:
        offset, count = ways[self.take(2)]
        return offset + self.take(count)


def _header(bits: _Bits) -> JpegXlKind:
    """The fields of ISO/IEC 18181-1, annexes D and E, up to the colours."""
    size = _size(bits)
    if bits.flag():  # everything else as usual: sRGB of 8 bits
        return JpegXlKind(size)
    several, orientation = False, 1
    if bits.flag():
        orientation = bits.take(3) + 1
        if bits.flag():  # the size to show it at
            _size(bits)
        if bits.flag():
            _size(bits, preview=True)
        if several := bits.flag():  # frame rate and loops
            bits.number(((100, 0), (1000, 0), (1, 10), (1, 30)))
            bits.number(((1, 0), (1001, 0), (1, 8), (1, 10)))
            bits.number(((0, 0), (0, 3), (0, 16), (0, 32)))
            bits.flag()
    if orientation > 4:
        size = size[::-1]
    depth, floating = _depth(bits)
    if floating or depth > 16:
        raise refusal("JPEG XL", f"{depth} bits a channel, or floating point numbers")
    bits.flag()
    for _ in range(bits.number(((0, 0), (1, 0), (2, 4), (1, 12)))):
        _check_extra_channel(bits, depth)
    bits.flag()  # how colours are compressed
    profile, has_icc = _colors(bits)
    return JpegXlKind(size, depth, profile, has_icc, several=several)


def _size(bits: _Bits, preview: bool = False) -> tuple[int, int]:
    """Width and height, in eighths if both are small."""
    in_eighths = bits.flag()

    def side() -> int:
        if not in_eighths:
            return bits.number(((1, 6), (65, 8), (321, 10), (1345, 12)) if preview else _SIDE)
        if preview:
            return 8 * bits.number(((16, 0), (32, 0), (1, 5), (33, 9)))
        return 8 * (bits.take(5) + 1)

    height = side()
    if ratio := bits.take(3):
        above, below = _RATIOS[ratio]
        return height * above // below, height
    return side(), height


def _depth(bits: _Bits) -> tuple[int, bool]:
    """Bits per number, and whether it is of floating point."""
    if bits.flag():
        depth = bits.number(((32, 0), (16, 0), (24, 0), (1, 6)))
        bits.take(4)  # of the exponent
        return depth, True
    return bits.number(((8, 0), (10, 0), (12, 0), (1, 6))), False


def _check_extra_channel(bits: _Bits, depth: int) -> None:
    """Reads the description of a channel besides colour; refuses all but plain alpha."""
    kind, own_depth, is_multiplied = _ALPHA, 8, False
    if not bits.flag():  # else alpha of 8 bits
        kind = bits.number(_ENUM)
        own_depth, _ = _depth(bits)
        bits.number(((0, 0), (3, 0), (4, 0), (1, 3)))
        bits.take(8 * bits.number(((0, 0), (0, 4), (16, 5), (48, 10))))  # its name
        is_multiplied = kind == _ALPHA and bits.flag()
    if kind != _ALPHA:
        raise refusal("JPEG XL", "channels beside colours and alpha")
    if is_multiplied:
        raise refusal("JPEG XL", "alpha that is multiplied into its colours")
    if own_depth != depth:
        raise refusal("JPEG XL", "alpha of another depth than colours")


def _colors(bits: _Bits) -> tuple[bytes | None, bool]:
    """The profile that the header's numbers describe (None: sRGB), and whether an ICC profile does.

    The ICC profile itself is compressed further on, and no decoder here returns it.
    """
    if bits.flag():
        return None, False
    has_icc, space = bits.flag(), bits.number(_ENUM)
    if has_icc:
        return None, True
    if space not in (_RGB, _GREY):
        raise InputError("its colours are of no known kind: save it as PNG")
    number = bits.number(_ENUM)
    white = _place(bits) if number == _OWN else _WHITES[number]
    *corners, _ = PRIMARIES[1]
    if space == _RGB:
        number = bits.number(_ENUM)
        corners = (
            [_place(bits) for _ in range(3)] if number == _OWN else list(PRIMARIES[number][:3])
        )
    if bits.flag():
        gamma: float | None = 1e7 / bits.take(24)
    elif (transfer := bits.number(_ENUM)) == _DCI_CURVE:
        gamma = 2.6
    else:
        check_transfer(transfer)
        gamma = 1.0 if transfer == _LINEAR else None
    return make_profile((*corners, white), gamma), False


def _place(bits: _Bits) -> tuple[float, float]:
    """x and y of a colour; even numbers are positive."""
    numbers = (bits.number(_COORDINATE), bits.number(_COORDINATE))
    x, y = ((-(n + 1) // 2 if n & 1 else n // 2) / 1e6 for n in numbers)
    return x, y
