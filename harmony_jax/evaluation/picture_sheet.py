"""A sheet of pictures: some samples, each with what was made of it."""

from typing import NamedTuple

import cv2
import numpy as np

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


class Example(NamedTuple):
    """One sample with its pictures and errors."""

    title: str
    pictures: Pictures
    composite_mse: float
    model_mse: float


def example_sheet(examples: list[Example]) -> np.ndarray:
    """A row an example: composite, mask, blend mask (if any), prediction, real.

    Returns:
        RGB uint8 [height, width, 3], with captions.
    """
    rows: list[np.ndarray] = []
    for example in examples:
        captions, pictures = zip(*_cells(example), strict=True)
        cells = [_captioned(_rgb(p), c) for p, c in zip(pictures, captions, strict=True)]
        rows.append(np.concatenate(cells, 1))
    # Pictures that are not square differ in size.
    width = max(row.shape[1] for row in rows)
    padding = [((0, 0), (0, width - row.shape[1]), (0, 0)) for row in rows]
    return np.concatenate(
        [np.pad(row, pad, constant_values=255) for row, pad in zip(rows, padding, strict=True)]
    )


def _cells(example: Example) -> list[tuple[str, np.ndarray]]:
    pictures = example.pictures
    cells = [
        (f"composite  MSE {example.composite_mse:.0f}", pictures.composite),
        ("mask", pictures.mask),
        (f"harmonized  MSE {example.model_mse:.0f}", pictures.prediction),
        (f"real  {example.title}", pictures.real),
    ]
    if pictures.blend_mask is not None:
        cells.insert(2, ("blend mask", 255 * pictures.blend_mask))
    return cells


def _rgb(pixels: np.ndarray) -> np.ndarray:
    clipped = np.rint(np.clip(pixels, 0, 255)).astype(np.uint8)
    return clipped if clipped.ndim == 3 else np.repeat(clipped[..., None], 3, -1)


def _captioned(pixels: np.ndarray, caption: str) -> np.ndarray:
    height, width = pixels.shape[:2]
    cell = np.full((height + _CAPTION + _MARGIN, width + _MARGIN, 3), 255, np.uint8)
    cell[_CAPTION : _CAPTION + height, :width] = pixels
    scale = min(0.45, 0.45 * width / max(1, cv2.getTextSize(caption, _FONT, 0.45, 1)[0][0]))
    cv2.putText(cell, caption, (1, _CAPTION - 6), _FONT, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return cell
