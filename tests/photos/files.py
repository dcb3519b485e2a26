"""Files that tests make by hand, as none of the libraries writes them."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

Chunk = tuple[bytes, bytes]


def png_chunk(kind: bytes, content: bytes) -> bytes:
    end = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + end


def png_of(
    pixels: np.ndarray, bits: int, color: int, *before: Chunk, after: tuple[Chunk, ...] = ()
):
    """A PNG with chunks before and after its pixels, [height, width] or with channels last.

    Args:
        pixels: stored numbers, of fewer bits than 8 too.
        bits: of each.
        color: kind of colour, as IHDR has it: 0, grey; 2, RGB; 3, palette; 4 and 6, with alpha.
        before: chunks in front of the pixels.
        after: chunks behind them.
    """
    height, width = pixels.shape[:2]
    stored = pixels.reshape(height, -1)
    if bits == 16:
        rows = [row.astype(">u2").tobytes() for row in stored]
    else:
        wide = np.unpackbits(stored.astype(np.uint8)[:, :, None], axis=2)[:, :, 8 - bits :]
        rows = [np.packbits(row).tobytes() for row in wide.reshape(height, -1)]
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = [(b"IHDR", header), *before, (b"IDAT", data), *after, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def file_of(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
