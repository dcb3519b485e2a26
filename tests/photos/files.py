"""Pictures and files that several tests make."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import ExifTags, Image

RNG = np.random.default_rng(0)
Chunk = tuple[bytes, bytes]


def noise(*shape: int, kind: type = np.uint8) -> np.ndarray:
    return RNG.integers(0, np.iinfo(kind).max + 1, shape).astype(kind)


def smooth(height: int = 40, width: int = 56, channels: int = 3) -> np.ndarray:
    return cv2.resize(noise(5, 7, channels), (width, height))


def photo_and_mask(
    height: int = 40, width: int = 50, kind: type = np.uint8
) -> tuple[np.ndarray, np.ndarray]:
    """A smooth photo, and a mask that is white on a rectangle of it."""
    low = RNG.integers(40, 216, (6, 6, 3)).astype(np.uint8)
    image = cv2.resize(low, (width, height), interpolation=cv2.INTER_CUBIC)
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : height * 3 // 4, width // 4 : width * 3 // 4] = 255
    return image.astype(kind) * (np.iinfo(kind).max // 255), mask


def sample(name: str) -> bytes:
    """A file of samples/, which its README describes."""
    return (Path(__file__).parent / "samples" / name).read_bytes()


def blocks() -> np.ndarray:
    """What the samples show: blocks of 8 pixels, 4 across and 3 down."""
    rows, columns = np.mgrid[0:24, 0:32] // 8
    return np.stack([80 * columns, 120 * rows, 250 - 60 * columns], -1)


def exif(orientation: int | None = None) -> Image.Exif:
    fields = Image.Exif()
    if orientation is not None:
        fields[ExifTags.Base.Orientation] = orientation
    fields[ExifTags.Base.Make] = "Maker"
    fields[ExifTags.Base.Copyright] = "Somebody"
    fields.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] = 200
    fields.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    return fields


def file_of(image: Image.Image | np.ndarray, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff_of(pixels: np.ndarray, **options) -> bytes:
    """A TIFF of tifffile, which writes more variants than PIL."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def first_page(data: bytes) -> tifffile.TiffPage:
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        page = file.pages.first
        _ = page.dataoffsets
        return page


def png_chunk(kind: bytes, content: bytes) -> bytes:
    end = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + end


def png_of(
    pixels: np.ndarray, bits: int, color: int, *before: Chunk, after: tuple[Chunk, ...] = ()
) -> bytes:
    """A PNG made by hand, as none of the libraries writes all variants.

    Args:
        pixels: stored numbers [height, width] or with channels last, also of fewer bits than 8.
        bits: of each number.
        color: kind of colour, as in IHDR: 0, grey; 2, RGB; 3, palette; 4 and 6, with alpha.
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
