"""A sheet of pictures: some samples, each with what was made of it."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from harmony_jax.disk import encoded
from harmony_jax.evaluation.metrics import ImageMetrics

_MARGIN = 4
_CAPTION = 20
_FONT = cv2.FONT_HERSHEY_SIMPLEX


class Pictures(NamedTuple):
    """One sample's pictures, of one height and width; RGB in [0, 255], uint8 or float."""

    composite: np.ndarray
    mask: np.ndarray  # [height, width] in [0, 255]
    blend_mask: np.ndarray | None  # [height, width] in [0, 1]
    prediction: np.ndarray
    real: np.ndarray


def example_sheet(examples: Sequence[tuple[ImageMetrics, Pictures]]) -> np.ndarray:
    """A row an example: composite, mask, blend mask (if any), prediction, real.

    Returns:
        RGB uint8 [height, width, 3], with captions.
    """
    rows = []
    for image, pictures in examples:
        cells = {
            f"composite  MSE {image['composite_MSE']:.0f}": pictures.composite,
            "mask": pictures.mask,
            "blend mask": None if pictures.blend_mask is None else 255 * pictures.blend_mask,
            f"harmonized  MSE {image['MSE']:.0f}": pictures.prediction,
            f"real  {image['subset']} {image['name']}": pictures.real,
        }
        shown = [_captioned(to_rgb(p), name) for name, p in cells.items() if p is not None]
        rows.append(np.concatenate(shown, 1))
    # Pictures that are not square differ in size.
    width = max(row.shape[1] for row in rows)
    padding = [((0, 0), (0, width - row.shape[1]), (0, 0)) for row in rows]
    return np.concatenate(
        [np.pad(row, pad, constant_values=255) for row, pad in zip(rows, padding, strict=True)]
    )


def to_levels(pixels: np.ndarray) -> np.ndarray:
    """Rounded to uint8, and clamped to its range first."""
    return np.rint(np.clip(pixels, 0, 255)).astype(np.uint8)


def to_rgb(pixels: np.ndarray) -> np.ndarray:
    """Levels of three channels, also of a picture that has one."""
    levels = to_levels(pixels)
    return levels if levels.ndim == 3 else np.repeat(levels[..., None], 3, -1)


def _captioned(pixels: np.ndarray, caption: str) -> np.ndarray:
    height, width = pixels.shape[:2]
    caption = encoded(caption).decode()  # OpenCV crashes on names that are not Unicode
    cell = np.full((height + _CAPTION + _MARGIN, width + _MARGIN, 3), 255, np.uint8)
    cell[_CAPTION : _CAPTION + height, :width] = pixels
    scale = min(0.45, 0.45 * width / max(1, cv2.getTextSize(caption, _FONT, 0.45, 1)[0][0]))
    cv2.putText(cell, caption, (1, _CAPTION - 6), _FONT, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return cell
