"""TIFF of more than 8 bits a channel, which PIL reads as 8."""

import io
import logging
import math

import numpy as np
import tifffile
from jaxtyping import UInt

from harmony_jax.errors import InputError

_DEEPEST = np.iinfo(np.uint16).max
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2  # of PhotometricInterpretation
_MULTIPLIED, _SEPARATE = 1, 2  # kinds of alpha, of ExtraSamples

# Of damaged fields; without a handler they would go to the terminal.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def decode_tiff(data: bytes, label: str) -> UInt[np.ndarray, "height width channels"]:
    """Decodes the first picture of a file, not turned upright.

    Args:
        data: the file.
        label: names it in messages.

    Returns:
        uint16 over its whole range: grey, RGB, or either with alpha, which is not multiplied in.

    Raises:
        InputError: pixels of another kind.
        Exception: of many kinds, for a damaged file.
    """
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        meaning, samples = int(page.photometric), page.samplesperpixel
        if page.dtype != np.uint16 or meaning not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB):
            kind = f"{tifffile.PHOTOMETRIC(meaning).name} {page.dtype}"
            raise InputError(f"{label}: pixels of kind {kind}: convert them to RGB of 8 or 16 bits")
        # What is missing would be read as black.
        parts = list(zip(page.dataoffsets, page.databytecounts, strict=True))
        if len(parts) < math.prod(page.chunked) or any(
            not size or start + size > len(data) for start, size in parts
        ):
            raise ValueError("some of the pixels are missing")
        pixels = page.asarray()
        shape = (page.imagelength, page.imagewidth)
        if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and samples > 1:
            pixels = np.moveaxis(pixels, 0, -1)
        pixels = pixels.reshape(*shape, samples)
        pixels = _widened(pixels, page.bitspersample)
        if meaning == _WHITE_IS_ZERO:
            pixels[:, :, 0] = _DEEPEST - pixels[:, :, 0]
        colors = 3 if meaning == _RGB else 1
        tag = page.tags.get("ExtraSamples")  # without which a channel more is alpha, as in PIL
        extra = np.ravel(tag.value)[0] if tag else _SEPARATE
    if samples == colors or extra not in (_MULTIPLIED, _SEPARATE):  # a selection or the like
        return pixels[:, :, :colors]
    pixels = pixels[:, :, : colors + 1]
    return _unmultiplied(pixels) if extra == _MULTIPLIED else pixels


def _widened(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Values of fewer bits over the whole range of 16."""
    if bits == 16:
        return pixels
    return np.rint(pixels * (_DEEPEST / (2**bits - 1))).astype(np.uint16)


def _unmultiplied(pixels: np.ndarray) -> np.ndarray:
    """Colours of which alpha has been multiplied into, as they were."""
    alpha = pixels[:, :, -1:].astype(np.float64)
    colors = pixels[:, :, :-1] * (_DEEPEST / np.maximum(alpha, 1))
    return np.concatenate([np.rint(np.minimum(colors, _DEEPEST)), alpha], 2).astype(np.uint16)
