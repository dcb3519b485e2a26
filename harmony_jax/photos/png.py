"""PNG chunks: pixels of 16 bits, colours, and text. PIL reads everything else."""

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence

import imagecodecs
import numpy as np
from jaxtyping import UInt

from harmony_jax.photos.color import PRIMARIES, make_profile, profile_of_code_points

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = len(SIGNATURE) + 25  # signature, then the IHDR chunk

Chunks = Sequence[tuple[bytes, bytes]]  # kinds and contents

_PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_TEXT = (b"tEXt", b"zTXt", b"iTXt")
# Text chunks that hold XMP and EXIF.
_NOT_TEXT = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0", b"Raw profile type APP1\0")
_GREY, _WITH_ALPHA = 0, (4, 6)  # kinds of colour, of IHDR
_SRGB_GAMMA, _NEAR = 45_455, 500  # of gAMA, in 100,000ths


def chunks_of(data: bytes) -> Chunks:
    """All chunks but the pixels', up to where the file ends or is damaged."""
    return [
        (kind, data[start + 8 : end - 4]) for kind, start, end in _places(data) if kind != b"IDAT"
    ]


def _places(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each chunk, with its length and checksum."""
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        end = at + 12 + size
        if end > len(data):
            return
        yield data[at + 4 : at + 8], at, end
        at = end


def bit_depth(data: bytes) -> int:
    """Bits per channel, or per index into the palette."""
    return data[24]


def decode_deep(data: bytes, chunks: Chunks) -> UInt[np.ndarray, "height width *channels"]:
    """The (first) picture of a file with 16 bits per channel, in uint16.

    libpng gets only the chunks of the pixels: no frames of an animation, no colours to convert.
    """
    parts = [data[start:end] for kind, start, end in _places(data) if kind in _PIXELS]
    pixels = imagecodecs.png_decode(SIGNATURE + b"".join(parts))
    key = dict(chunks).get(b"tRNS")
    if key is None or data[25] in _WITH_ALPHA:
        return pixels
    pixels = np.atleast_3d(pixels)
    transparent = (pixels == np.frombuffer(key[: 2 * pixels.shape[2]], ">u2")).all(2)
    alpha = np.where(transparent, 0, 65535).astype(np.uint16)
    return np.concatenate([pixels, alpha[:, :, None]], 2)


def transparent_grey(data: bytes, chunks: Chunks) -> int | None:
    """The transparent grey, of 255, of a picture of 2 or 4 bits; PIL does not scale it."""
    key, bits = dict(chunks).get(b"tRNS"), bit_depth(data)
    if key is None or bits not in (2, 4) or data[25] != _GREY:
        return None
    return (int.from_bytes(key[:2], "big") & (2**bits - 1)) * (255 // (2**bits - 1))


def profile_of(chunks: Chunks) -> bytes | None:
    """The colours that cICP, sRGB, or gAMA and cHRM describe, in this order; None for sRGB."""
    found = dict(chunks)
    if len(points := found.get(b"cICP", b"")) == 4:
        return profile_of_code_points(points[0], points[1])
    if b"sRGB" in found:
        return None
    gamma: float | None = None
    corners: tuple[tuple[float, ...], ...] = PRIMARIES[1]
    if len(stored := found.get(b"gAMA", b"")) == 4 and any(stored):
        value = int.from_bytes(stored, "big")
        gamma = None if abs(value - _SRGB_GAMMA) < _NEAR else 100_000 / value
    if len(stored := found.get(b"cHRM", b"")) == 32:
        values = [number / 100_000 for number in struct.unpack(">8I", stored)]
        places = tuple(zip(values[::2], values[1::2], strict=True))
        if np.abs(np.subtract((*places[1:], places[0]), corners)).max() > 0.002:
            corners = (*places[1:], places[0])
    return make_profile(corners, gamma)


def text_of(chunks: Chunks) -> tuple[tuple[bytes, bytes], ...]:
    """The text chunks that no other field of a picture holds."""
    return tuple(c for c in chunks if c[0] in _TEXT and not c[1].startswith(_NOT_TEXT))


def encode(pixels: UInt[np.ndarray, "height width *channels"]) -> bytes:
    """A PNG file of 8 or 16 bits per channel; PIL takes three times as long."""
    kinds = imagecodecs.PNG
    if pixels.dtype == np.uint8:
        options = {"level": 2, "filter": kinds.FILTER.UP}
    else:  # 16 bits hardly ever repeat
        options = {"level": 1, "strategy": kinds.STRATEGY.RLE, "filter": kinds.FILTER.SUB}
    return bytes(imagecodecs.png_encode(pixels, **options))


def with_chunks(data: bytes, chunks: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A file with chunks added behind its header."""
    added = b""
    for kind, content in chunks:
        checksum = zlib.crc32(kind + content)
        added += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
    return data[:_HEADER] + added + data[_HEADER:]
