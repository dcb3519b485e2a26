"""A color transform changes a frame's own planes, and only where its mask is.

Y, U and V are affine in RGB, so the few coefficients of the transform are converted, and the pixels
are not. Numbers beyond black or white are not cut off; players do that. Where chroma is subsampled,
it is changed by the mean of the luma, and of the mask, that it covers; luma is changed by chroma
interpolated between pixel centres. FFmpeg's swscale there and back, with no change in between,
would alter chroma by up to 6 levels of 255.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float32

from harmony_jax.photos.color_transform import SHADOWS
from harmony_jax.photos.masks import PixelMask
from harmony_jax.photos.steady import Transform
from harmony_jax.video.pixels import Meaning, Planes, at_size, covered

_STRIP = 32  # rows that are changed at once: they fit into the processor's cache


def recolor(
    planes: Planes,
    coefficients: Transform,
    mask: PixelMask,
    strength: float = 1.0,
    interlaced: bool = False,
) -> None:
    """Changes a frame's colours inside the mask, in place.

    Numbers stay where the mask is 0. A subsampled number stays if the mask is 0 on all pixels that
    it covers.

    Args:
        planes: the frame, which is written to.
        coefficients: [12, grid_height, grid_width] of RGB, as `fit_color_transform` gives them.
        mask: of the frame's size.
        strength: how much of the change to make, from 0 to 2.
        interlaced: whether even and odd rows are two pictures, each with its own chroma.
    """
    for rows in (slice(0, None, 2), slice(1, None, 2)) if interlaced else (slice(None),):
        if mask[rows].any():
            color = [plane[rows] for plane in planes.color]
            _recolor_picture(color, coefficients, mask[rows], strength, planes.meaning)


def _recolor_picture(
    color: Sequence[np.ndarray],
    coefficients: Transform,
    mask: PixelMask,
    strength: float,
    meaning: Meaning,
) -> None:
    """Changes a whole picture, or one field of it, in the box around the mask."""
    left, top, width, height = cv2.boundingRect(mask)
    tall, wide = covered(mask.shape, color[-1].shape)
    rows = _side(top, top + height, tall, mask.shape[0])
    columns = _side(left, left + width, wide, mask.shape[1])
    factors = [covered(mask.shape, plane.shape) for plane in color]
    parts = [(_shared(rows, down), _shared(columns, across)) for down, across in factors]
    views = [plane[part] for plane, part in zip(color, parts, strict=True)]
    before = [view.astype(np.float32) for view in views]
    weight = mask[rows, columns].astype(np.float32) * np.float32(strength / 255)
    grid_rows = _grid(rows, mask.shape[0], coefficients.shape[1])
    grid_columns = _grid(columns, mask.shape[1], coefficients.shape[2])
    functions = _of_numbers(coefficients[:, grid_rows, grid_columns], meaning)
    *shares, dark = np.append(meaning.matrix.mean(0), meaning.offset.mean()) / (255 * SHADOWS)
    for number, view in enumerate(views):
        down, across = (
            _places(side, factor / size, count)
            for side, factor, size, count in zip(
                parts[number], factors[number], mask.shape, coefficients.shape[1:], strict=True
            )
        )
        lines = _between(functions[number], across - grid_columns.start, axis=2)
        numbers = [at_size(plane, view.shape) for plane in before]
        own_weight = at_size(weight, view.shape)
        for start in range(0, len(down), _STRIP):
            strip = slice(start, start + _STRIP)
            *slopes, change = _between(lines, down[strip] - grid_rows.start, axis=1)
            outside_shadows = np.full_like(change, dark)
            for slope, share, plane in zip(slopes, shares, numbers, strict=True):
                slope *= plane[strip]
                change += slope
                outside_shadows += np.float32(share) * plane[strip]
            change *= own_weight[strip] * np.clip(outside_shadows, 0, 1)
            # Rounds, and cuts off at what the type holds.
            kind = cv2.CV_8U if meaning.full == 255 else cv2.CV_16U
            changed = cv2.add(before[number][strip], change, dtype=kind)
            view[strip] = changed if meaning.full == 255 else np.minimum(changed, meaning.full)


def _of_numbers(
    coefficients: Float32[np.ndarray, "12 height width"], meaning: Meaning
) -> np.ndarray:
    """The change of n stored numbers: [n, n + 1, height, width], their slopes and an offset."""
    _, height, width = coefficients.shape
    count = len(meaning.back)
    # Takes the numbers and 1 to RGB and 1.
    to_rgb = np.zeros((4, count + 1), np.float32)
    to_rgb[:3, :count], to_rgb[:3, count], to_rgb[3, count] = meaning.matrix, meaning.offset, 1
    changes = np.tensordot(np.float32(meaning.back), coefficients.reshape(3, 4, -1), 1)
    return np.matmul(to_rgb.T, changes).reshape(count, count + 1, height, width)


def _side(start: int, stop: int, factor: int, size: int) -> slice:
    """Whole pixels of chroma, and one more at each end to interpolate between."""
    return slice(
        max(0, (start // factor - 1) * factor), min(size, (-(-stop // factor) + 1) * factor)
    )


def _shared(side: slice, factor: int) -> slice:
    return slice(side.start // factor, -(-side.stop // factor))


def _grid(side: slice, size: int, count: int) -> slice:
    """The part of the grid that rows, or columns, of the picture are interpolated from."""
    return slice(max(0, side.start * count // size - 1), side.stop * count // size + 2)


def _places(side: slice, share: float, count: int) -> np.ndarray:
    """Where the centres of rows lie among the grid's `count`; each is a `share` of the picture."""
    centres = (np.arange(side.start, side.stop, dtype=np.float32) + 0.5) * share
    return np.clip(centres * count - 0.5, 0, count - 1)


def _between(values: np.ndarray, places: np.ndarray, axis: int) -> np.ndarray:
    """Values interpolated linearly along an axis."""
    last = values.shape[axis] - 1
    first = np.minimum(places.astype(np.intp), max(last - 1, 0))
    share = (places - first).astype(np.float32)
    if axis == 1:
        share = share[:, None]
    result = np.take(values, first, axis) * (1 - share)
    result += np.take(values, np.minimum(first + 1, last), axis) * share
    return result
