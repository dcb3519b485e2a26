"""Resizing as the benchmark does it, and as large photos need it before."""

import cv2
import numpy as np

# Pixels a side that HAdobe5k is shrunk to, as in the released preparation.
MAX_SIDE = 1024


def resize(pixels: np.ndarray, height: int, width: int | None = None) -> np.ndarray:
    """Bilinear without antialiasing, to a square unless a width is given.

    The benchmark's numbers depend on exactly this.
    """
    size = (height if width is None else width, height)
    return cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)


def shrink(pixels: np.ndarray, size: int) -> np.ndarray:
    """As `resize`, for photos larger than the data set's.

    They are first averaged to at most MAX_SIDE pixels a side: networks have not seen the aliasing
    of a 12-megapixel photo that is resized in one step.
    """
    scale = MAX_SIDE / max(pixels.shape[:2])
    if scale < 1:
        height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return resize(pixels, size)
