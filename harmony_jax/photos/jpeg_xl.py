"""JPEG XL: what its header says, of which the decoder gives pixels alone."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import imagecodecs
import numpy as np
from jaxtyping import UInt

from harmony_jax.errors import InputError
from harmony_jax.photos.boxes import boxes_of
from harmony_jax.photos.color import check_transfer, make_profile

CODE_STREAM = b"\xff\x0a"
CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"

# Of ISO/IEC 18181-1: what a size that is told by a ratio is of the height.
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_ALPHA, _SPOT, _MOSAIC = 0, 2, 5  # kinds of further channels
_RGB, _GREY = 0, 1  # kinds of colour
_OWN = 2  # of white points and primaries: their places follow
_WHITES = {1: (0.3127, 0.3290), 10: (1 / 3, 1 / 3), 11: (0.314, 0.351)}
_PRIMARIES = {
    1: ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
_LINEAR, _DCI_CURVE = 8, 17  # curves from numbers to light

# Ways to store a number: what is added to so many bits.
Ways = Sequence[tuple[int, int]]
_ENUM: Ways = ((0, 0), (1, 0), (2, 4), (18, 6))
_SIDE: Ways = ((1, 9), (1, 13), (1, 18), (1, 30))
_PLACE: Ways = ((0, 19), (524_288, 19), (1_048_576, 20), (2_097_152, 21))


class JpegXlKind(NamedTuple):
    """What a file's picture is.

    Attributes:
        size: width and height, in pixels, upright.
        bits: a channel's.
        has_icc: whether its colours are told by an ICC profile, which no decoder here gives.
        profile: what they are otherwise; None for sRGB.
        is_jpeg: whether a JPEG was packed, which can be had again as it was.
        several: whether it has more than one picture.
        refusal: why its pixels are not read, or None.
        exif: its EXIF, or None.
        xmp: its XMP, or None.
    """

    size: tuple[int, int]
    bits: int
    has_icc: bool
    profile: bytes | None
    is_jpeg: bool
    several: bool
    refusal: str | None
    exif: bytes | None
    xmp: bytes | None


def is_jpeg_xl(data: bytes) -> bool:
    """Whether a file begins as JPEG XL does, bare or in boxes."""
    return data.startswith((CODE_STREAM, CONTAINER))


def look_at_jpeg_xl(data: bytes, label: str) -> JpegXlKind:
    """What is in a file, of which the pixels are not looked at.

    Raises:
        InputError: brightness beyond white (HDR), or colours of a meaning that is not known.
        Exception: of several kinds, for a damaged file.
    """
    parts, found = [data], {}
    if data.startswith(CONTAINER):
        parts = []
        for kind, content in boxes_of(data):
            if kind in (b"jxlc", b"jxlp"):
                parts.append(content[4 if kind == b"jxlp" else 0 :])
            elif kind == b"brob":  # of any kind, compressed
                found[content[:4]] = imagecodecs.brotli_decode(content[4:])
            else:
                found[kind] = content
    stream = b"".join(parts)
    if not stream.startswith(CODE_STREAM):
        raise ValueError("no code stream")
    exif = bytes(found.get(b"Exif", b""))
    return _header(_Bits(stream[2:]), label)._replace(
        is_jpeg=b"jbrd" in found,
        exif=exif[4 + int.from_bytes(exif[:4], "big") :] or None,
        xmp=bytes(found.get(b"xml ", b"")) or None,
    )


def decode_jpeg_xl(
    data: bytes, kind: JpegXlKind, label: str
) -> UInt[np.ndarray, "height width *channels"]:
    """The first picture, upright, its numbers of the header's bits.

    Raises:
        InputError: what its numbers mean is not known.
        Exception: of several kinds, for a damaged file.
    """
    refusal = "colours of an ICC profile" if kind.has_icc else kind.refusal
    if refusal is not None:
        raise InputError(f"{label}: this kind of JPEG XL is not taken ({refusal}): save it as PNG")
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


def _header(bits: _Bits, label: str) -> JpegXlKind:
    """The fields of ISO/IEC 18181-1, annexes D and E, up to the colours."""
    size = _size(bits, lambda small: (bits.take(5) + 1) * 8 if small else bits.number(_SIDE))
    plain = JpegXlKind(size, 8, False, None, False, False, None, None, None)
    if bits.flag():
        return plain
    further = bits.flag()
    several, orientation = False, 1
    if further:
        orientation = bits.take(3) + 1
        if bits.flag():  # the size to show it at
            _size(bits, lambda small: (bits.take(5) + 1) * 8 if small else bits.number(_SIDE))
        if bits.flag():  # a preview
            _size(bits, lambda small: _preview_side(bits, small))
        if several := bits.flag():
            bits.number(((100, 0), (1000, 0), (1, 10), (1, 30)))
            bits.number(((1, 0), (1001, 0), (1, 8), (1, 10)))
            bits.number(((0, 0), (0, 3), (0, 16), (0, 32)))
            bits.flag()
    if orientation > 4:
        size = size[::-1]
    depth, floating = _depth(bits)
    refusal = "floating point numbers" if floating else None
    if depth > 16:
        refusal = f"{depth} bits a channel"
    bits.flag()
    for _ in range(bits.number(((0, 0), (1, 0), (2, 4), (1, 12)))):
        refusal = _further_channel(bits, depth) or refusal
    bits.flag()  # how colours are packed
    has_icc, profile = _colors(bits, label)
    return plain._replace(
        size=size, bits=depth, has_icc=has_icc, profile=profile, several=several, refusal=refusal
    )


def _size(bits: _Bits, side: Callable[[bool], int]) -> tuple[int, int]:
    small = bits.flag()
    height = side(small)
    if ratio := bits.take(3):
        above, below = _RATIOS[ratio]
        return height * above // below, height
    return side(small), height


def _preview_side(bits: _Bits, small: bool) -> int:
    if small:
        return 8 * bits.number(((16, 0), (32, 0), (1, 5), (33, 9)))
    return bits.number(((1, 6), (65, 8), (321, 10), (1345, 12)))


def _depth(bits: _Bits) -> tuple[int, bool]:
    """How many bits a number has, and whether it is of floating point."""
    if bits.flag():
        depth = bits.number(((32, 0), (16, 0), (24, 0), (1, 6)))
        bits.take(4)
        return depth, True
    return bits.number(((8, 0), (10, 0), (12, 0), (1, 6))), False


def _further_channel(bits: _Bits, depth: int) -> str | None:
    """Reads of a channel beside those of colour; why it is not taken, or None."""
    if bits.flag():  # alpha of 8 bits
        return None if depth == 8 else "alpha of another depth than colours"
    kind = bits.number(_ENUM)
    own_depth, _ = _depth(bits)
    bits.number(((0, 0), (3, 0), (4, 0), (1, 3)))
    for _ in range(bits.number(((0, 0), (0, 4), (16, 5), (48, 10)))):
        bits.take(8)  # its name
    if kind == _SPOT:
        bits.take(64)
    elif kind == _MOSAIC:
        bits.number(((1, 0), (0, 2), (3, 4), (19, 8)))
    elif kind == _ALPHA:
        if bits.flag():
            return "alpha that is multiplied into its colours"
        return None if own_depth == depth else "alpha of another depth than colours"
    return "channels beside colours and alpha"


def _colors(bits: _Bits, label: str) -> tuple[bool, bytes | None]:
    """Whether an ICC profile tells what colours mean, and the profile that numbers tell."""
    if bits.flag():
        return False, None
    has_icc, kind = bits.flag(), bits.number(_ENUM)
    if has_icc:
        return True, None
    if kind not in (_RGB, _GREY):
        raise InputError(f"{label}: its colours are of no known kind: save it as PNG")
    number = bits.number(_ENUM)
    white = _place(bits) if number == _OWN else _WHITES[number]
    corners = _PRIMARIES[1]
    if kind == _RGB:
        number = bits.number(_ENUM)
        own = number == _OWN
        corners = (_place(bits), _place(bits), _place(bits)) if own else _PRIMARIES[number]
    if bits.flag():
        gamma: float | None = 1e7 / bits.take(24)
    else:
        transfer = bits.number(_ENUM)
        if transfer == _DCI_CURVE:
            gamma = 2.6
        else:
            check_transfer(transfer, label)
            gamma = 1.0 if transfer == _LINEAR else None
    return False, make_profile((*corners, white), gamma)


def _place(bits: _Bits) -> tuple[float, float]:
    """x and y of a colour, of which even numbers are positive."""
    numbers = (bits.number(_PLACE), bits.number(_PLACE))
    x, y = ((-(n + 1) // 2 if n & 1 else n // 2) / 1e6 for n in numbers)
    return x, y
