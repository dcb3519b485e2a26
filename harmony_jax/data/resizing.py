"""To the network's size, as the benchmark resizes."""

import cv2
import numpy as np

# Pixels a side that HAdobe5k is shrunk to, as in the released preparation.
MAX_SIDE = 1024


def resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """Bilinear without antialiasing; the benchmark's numbers depend on exactly this."""
    return cv2.resize(pixels, (size, size), interpolation=cv2.INTER_LINEAR)


def shrink(pixels: np.ndarray, size: int) -> np.ndarray:
    """As `resize`, for photos larger than the data set's.

    They first become at most MAX_SIDE pixels a side, averaged: networks have not seen the aliasing
    of a 12-megapixel photo that is resized in one step.
    """
    scale = MAX_SIDE / max(pixels.shape[:2])
    if scale < 1:
        height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return resize(pixels, size)


def at_most(pixels: np.ndarray, side: int) -> np.ndarray:
    """Averaged down to at most so many pixels a side; smaller pictures stay as they are."""
    scale = side / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    height, width = (max(1, round(length * scale)) for length in pixels.shape[:2])
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
