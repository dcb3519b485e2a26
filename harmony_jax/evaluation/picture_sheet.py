"""Tables and pictures people look at."""

from typing import NamedTuple

import cv2
import numpy as np

from harmony_jax.evaluation.metrics import Summary

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


def comparison_table(model: Summary, composite: Summary) -> str:
    """Two results side by side, a line a group (`harmony_jax.evaluation.metrics.summarize`)."""
    width = max(len(name) for name in model)
    with_ssim = all("SSIM" in row["All"] for row in (model, composite))
    half = f"{'MSE':>9} {'fMSE':>9} {'PSNR':>7}" + (f" {'SSIM':>7}" if with_ssim else "")
    lines = [
        f"{'':{width}} {'':>6}   {'composite':^{len(half)}}   {'model':^{len(half)}}",
        f"{'':{width}} {'N':>6}   {half}   {half}",
    ]
    for name, ours in model.items():
        cells = [
            f"{row['MSE']:9.2f} {row['fMSE']:9.2f} {row['PSNR']:7.2f}"
            + (f" {row['SSIM']:7.4f}" if with_ssim else "")
            for row in (composite[name], ours)
        ]
        lines.append(f"{name:{width}} {ours['N']:6.0f}   {cells[0]}   {cells[1]}")
    return "\n".join([*lines, change_of_error(model, composite)])


def change_of_error(model: Summary, composite: Summary) -> str:
    """One sentence that says what harmonizing gained."""
    change = model["All"]["MSE"] / composite["All"]["MSE"] - 1
    return f"The model's MSE over all images is {change:+.1%} against the composite's."


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
