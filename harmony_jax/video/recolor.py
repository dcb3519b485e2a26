"""A frame takes on a color transform in its own planes, and only where its mask is.

A transform of RGB is one of Y, U and V as well, as these are affine in RGB: so its few coefficients
are converted, and not the pixels. Numbers beyond white or black, of which video keeps some, are not
cut off; a player does so. Chroma of fewer pixels takes the mean of luma, and of the mask, over the
pixels that each of its own covers, and luma takes it interpolated between their middles.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from harmony_jax.photos.masks import PixelMask
from harmony_jax.photos.steady import Transform
from harmony_jax.video.pixels import Meaning, Planes, covered

_STRIP = 128  # rows at once, of luma; a multiple of what chroma shares


Size = tuple[int | float, int | float]  # height and width, of chroma perhaps with a half


def recolor(
    planes: Planes,
    coefficients: Transform,
    mask: PixelMask,
    strength: float = 1.0,
    interlaced: bool = False,
) -> None:
    """Changes a frame's colours inside the mask, in place.

    Where the mask is 0 all numbers stay; one of chroma stays where the mask is 0 on all pixels
    that it covers.

    Args:
        planes: the frame, which is written to.
        coefficients: [12, grid_height, grid_width] of RGB, as `fit_color_transform` gives them.
        mask: of the frame's size.
        strength: how much of the change to make, from 0 to 1.
        interlaced: whether even and odd rows are pictures of their own, with chroma of their own.
    """
    left, top, width, height = cv2.boundingRect(mask)
    if not width:
        return
    # What is interpolated between, and all else as it is.
    part = tuple(
        slice(max(0, start * count // side - 2), -(-stop * count // side) + 2)
        for start, stop, side, count in zip(
            (top, left),
            (top + height, left + width),
            mask.shape,
            coefficients.shape[1:],
            strict=True,
        )
    )
    outputs = len(planes.color)
    inputs = 4 if outputs == 3 else 2
    grid = np.zeros((outputs, inputs, *coefficients.shape[1:]), np.float32)
    grid[:, :, *part] = _in_numbers(coefficients[:, *part], planes.meaning, outputs)
    for field in (0, 1) if interlaced else (None,):
        rows = slice(field, None, 2) if field is not None else slice(None)
        start, stop = top, top + height
        if field is not None:
            start, stop = max(0, start - 1) // 2, (stop + 1) // 2
        _recolor_picture(
            [plane[rows] for plane in planes.color],
            grid,
            mask[rows],
            (start, stop, left, left + width),
            (strength, planes.meaning.full),
        )


def _in_numbers(coefficients: np.ndarray, meaning: Meaning, count: int) -> np.ndarray:
    """The transform of stored numbers: [3 outputs, 4, height, width]; of Y alone, one output."""
    _, height, width = coefficients.shape
    functions = coefficients.reshape(3, 4, height * width)
    slopes, offsets = functions[:, :3], functions[:, 3]
    back = np.linalg.inv(meaning.matrix)
    back, matrix = back.astype(np.float32), meaning.matrix.astype(np.float32)
    slopes = np.tensordot(back, slopes, 1)
    own_offset = np.tensordot(meaning.offset.astype(np.float32), slopes, (0, 1))
    own_offset += back @ offsets
    own_slopes = np.moveaxis(np.tensordot(matrix, slopes, (0, 1)), 0, 1)
    if count == 1:  # U and V are in the middle everywhere
        middle = (meaning.full + 1) // 2
        own_offset = own_offset + middle * own_slopes[:, 1:].sum(1)
        own_slopes = own_slopes[:, :1]
    result = np.concatenate([own_slopes, own_offset[:, None]], 1)[:count]
    return result.reshape(*result.shape[:2], height, width)


def _recolor_picture(
    color: Sequence[np.ndarray],
    grid: np.ndarray,
    mask: PixelMask,
    box: tuple[int, int, int, int],
    scale: tuple[float, int],
) -> None:
    """Changes a whole picture, or one field of it, strip by strip inside a box."""
    height, width = color[0].shape
    tall, wide = covered(color[0].shape, color[-1].shape) if len(color) > 1 else (1, 1)
    top, left = box[0] // tall * tall, box[2] // wide * wide
    bottom, right = min(-(-box[1] // tall) * tall, height), min(-(-box[3] // wide) * wide, width)
    strength, full = scale
    small = None
    if (tall, wide) != (1, 1):  # as it was, where strips before have changed it
        small = np.stack([plane.astype(np.float32) for plane in color[1:]])
    for start in range(top, bottom, _STRIP):
        part = (slice(start, min(start + _STRIP, bottom)), slice(left, right))
        if not mask[part].any():
            continue
        weight = mask[part].astype(np.float32) * np.float32(strength / 255)
        if small is None:
            _recolor_alike(color, grid, weight, part, full)
        else:
            _recolor_subsampled(color, small, grid, weight, part, full)


def _recolor_alike(
    color: Sequence[np.ndarray],
    grid: np.ndarray,
    weight: np.ndarray,
    part: tuple[slice, slice],
    full: int,
) -> None:
    """One strip of planes that have one size."""
    stored = [plane[part].astype(np.float32) for plane in color]
    changes = [_change(functions, stored, part, color[0].shape) for functions in grid]
    for plane, numbers, change in zip(color, stored, changes, strict=True):
        plane[part] = _stored(numbers, change, weight, plane.dtype, full)


def _recolor_subsampled(
    color: Sequence[np.ndarray],
    small: np.ndarray,
    grid: np.ndarray,
    weight: np.ndarray,
    part: tuple[slice, slice],
    full: int,
) -> None:
    """One strip of luma and of chroma that has fewer pixels, `small` before all changes."""
    (height, width), (_, rows, columns) = color[0].shape, small.shape
    tall, wide = covered((height, width), (rows, columns))
    luma = color[0][part].astype(np.float32)
    # Chroma covers luma, or a row or column more.
    chroma = _enlarged(small, part, (rows * tall, columns * wide))
    change = _change(grid[0], [luma, *chroma], part, (height, width))
    color[0][part] = _stored(luma, change, weight, color[0].dtype, full)
    small_part = (
        slice(part[0].start // tall, -(-part[0].stop // tall)),
        slice(part[1].start // wide, -(-part[1].stop // wide)),
    )
    stored = [_mean(luma, tall, wide), *small[:, *small_part]]
    small_weight = _mean(weight, tall, wide)
    for k in (1, 2):
        change = _change(grid[k], stored, small_part, (height / tall, width / wide))
        color[k][small_part] = _stored(stored[k], change, small_weight, color[k].dtype, full)


def _change(
    functions: np.ndarray,
    stored: Sequence[np.ndarray],
    part: tuple[slice, slice],
    size: Size,
) -> np.ndarray:
    """How much one kind of numbers changes in a part of a picture of some size."""
    *slopes, change = _enlarged(functions, part, size)
    for slope, numbers in zip(slopes, stored, strict=True):
        np.multiply(slope, numbers, out=slope)
        np.add(change, slope, out=change)
    return change


def _enlarged(planes: np.ndarray, part: tuple[slice, slice], size: Size) -> np.ndarray:
    """A part of planes [n, height, width], enlarged to a size, middles of pixels where they were.

    Returns:
        [n, rows, columns] of the part.
    """
    rows, columns = part
    count, height, width = planes.shape
    first, second, share = _between(height, rows, size[0])
    piece, columns, wide = _whole_pixels(width, columns, size[1])
    planes = planes[:, :, piece]
    lines = planes[:, first] * (1 - share)[:, None]
    lines += planes[:, second] * share[:, None]
    if wide is not None:
        # Rows of all planes as one picture, of which columns alone are interpolated.
        lines = lines.reshape(count * len(first), -1)
        larger = cv2.resize(lines, (wide, len(lines)), interpolation=cv2.INTER_LINEAR)
        return larger.reshape(count, len(first), wide)[:, :, columns]
    first, second, share = _between(width, columns, size[1])
    return lines[:, :, first] * (1 - share) + lines[:, :, second] * share


def _whole_pixels(width: int, columns: slice, size: int | float) -> tuple[slice, slice, int | None]:
    """A piece of a row that becomes a whole number of pixels, with the columns that are wanted.

    Args:
        width: of the row, which is enlarged to `size`.
        columns: of the enlarged row.
        size: of that.

    Returns:
        The piece of the row; the columns in it, once enlarged; and how many it then has, or None
        if the row does not become a whole number of pixels.
    """
    large = round(size)
    if large != size:
        return slice(None), columns, None
    step = width // math.gcd(width, large)
    start = max(0, columns.start * width // large - 1) // step * step
    stop = min(width, -(-(columns.stop * width // large + 2) // step) * step)
    offset = start * large // width
    wide = stop * large // width - offset
    return slice(start, stop), slice(columns.start - offset, columns.stop - offset), wide


def _between(
    count: int, places: slice, size: int | float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Between which rows of a plane those of the enlarged one lie, and how far."""
    where = (np.arange(places.start, places.stop, dtype=np.float32) + 0.5) * (count / size) - 0.5
    where = np.clip(where, 0, count - 1)
    first = np.minimum(where.astype(np.int64), max(count - 2, 0))
    return first, np.minimum(first + 1, count - 1), (where - first).astype(np.float32)


def _mean(pixels: np.ndarray, tall: int, wide: int) -> np.ndarray:
    """Means over what each pixel of chroma covers, which is less at an odd border."""
    height, width = pixels.shape
    more = (-height % tall, -width % wide)
    if any(more):
        pixels = np.pad(pixels, ((0, more[0]), (0, more[1])), mode="edge")
    size = (pixels.shape[1] // wide, pixels.shape[0] // tall)
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def _stored(
    numbers: np.ndarray, change: np.ndarray, weight: np.ndarray, kind: np.dtype, full: int
) -> np.ndarray:
    np.multiply(change, weight, out=change)
    # Rounds and cuts off.
    if kind == np.uint8:
        return cv2.add(numbers, change, dtype=cv2.CV_8U)
    return np.minimum(cv2.add(numbers, change, dtype=cv2.CV_16U), full)
