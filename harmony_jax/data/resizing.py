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


def limited(pixels: np.ndarray, side: int, interpolation: int = cv2.INTER_AREA) -> np.ndarray:
    """At most so many pixels a side, averaged; smaller pictures stay as they are."""
    scale = side / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    height, width = (max(1, round(length * scale)) for length in pixels.shape[:2])
    return cv2.resize(pixels, (width, height), interpolation=interpolation)


def shrink(pixels: np.ndarray, size: int) -> np.ndarray:
    """As `resize`, for photos larger than the data set's.

    They first become at most MAX_SIDE pixels a side, averaged: networks have not seen the aliasing
    of a 12-megapixel photo that is resized in one step.
    """
    return resize(limited(pixels, MAX_SIDE), size)
