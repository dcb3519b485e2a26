"""A frame takes on a color transform in its own planes, and only where its mask is.

A transform of RGB is one of Y, U and V as well, as these are affine in RGB: so its few coefficients
are converted, and not the pixels. Numbers beyond white or black, of which video keeps some, are not
cut off; a player does so. Chroma of fewer pixels takes the mean of luma, and of the mask, over the
pixels that each of its own covers, and luma takes it interpolated between their middles.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from harmony_jax.photos.masks import PixelMask
from harmony_jax.photos.steady import Transform
from harmony_jax.video.pixels import Meaning, Planes, covered

_STRIP = 128  # rows at once, of luma; a multiple of what chroma shares


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
    grid = _in_numbers(coefficients, planes.meaning, len(planes.color))
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
    slopes = np.einsum("ak,kjn->ajn", back.astype(np.float32), slopes)
    own_offset = np.einsum("ajn,j->an", slopes, meaning.offset.astype(np.float32))
    own_offset += back.astype(np.float32) @ offsets
    own_slopes = np.einsum("ajn,jb->abn", slopes, meaning.matrix.astype(np.float32))
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
    height, width = color[0].shape
    tall, wide = covered(color[0].shape, color[min(1, len(color) - 1)].shape)
    top, bottom, left, right = box
    top, left = top // tall * tall, left // wide * wide
    bottom, right = min(-(-bottom // tall) * tall, height), min(-(-right // wide) * wide, width)
    step = _STRIP
    chroma = [plane.astype(np.float32) for plane in color[1:]]
    for start in range(top, bottom, step):
        stop = min(start + step, bottom)
        part = (slice(start, stop), slice(left, right))
        weight = mask[part]
        if not weight.any():
            continue
        weight = weight.astype(np.float32) * np.float32(scale[0] / 255)
        luma = color[0][part].astype(np.float32)
        if (tall, wide) == (1, 1):
            stored = [luma, *(plane[part] for plane in chroma)]
            changes = [_change(grid[k], stored, part, (height, width)) for k in range(len(grid))]
            for plane, numbers, change in zip(color, stored, changes, strict=True):
                plane[part] = _stored(numbers, change, weight, plane.dtype, scale[1])
            continue
        small_size = chroma[0].shape
        small_part = (
            slice(start // tall, -(-stop // tall)),
            slice(left // wide, -(-right // wide)),
        )
        # Of luma's size, or of a row or column more.
        whole = (small_size[0] * tall, small_size[1] * wide)
        others = [_enlarged(plane, part, whole) for plane in chroma]
        change = _change(grid[0], [luma, *others], part, (height, width))
        color[0][part] = _stored(luma, change, weight, color[0].dtype, scale[1])
        small_luma, small_weight = _mean(luma, tall, wide), _mean(weight, tall, wide)
        stored = [small_luma, *(plane[small_part] for plane in chroma)]
        # Chroma's pixels in the middles of luma's that they cover.
        share = (height / tall, width / wide)
        for k in (1, 2):
            change = _change(grid[k], stored, small_part, share)
            color[k][small_part] = _stored(
                stored[k], change, small_weight, color[k].dtype, scale[1]
            )


def _change(
    functions: np.ndarray,
    stored: Sequence[np.ndarray],
    part: tuple[slice, slice],
    size: tuple[float, float],
) -> np.ndarray:
    """How much one kind of numbers changes in a part of a picture of some size."""
    change = _enlarged(functions[-1], part, size)
    for slope, numbers in zip(functions[:-1], stored, strict=True):
        product = _enlarged(slope, part, size)
        np.multiply(product, numbers, out=product)
        np.add(change, product, out=change)
    return change


def _enlarged(
    plane: np.ndarray, part: tuple[slice, slice], size: tuple[float, float]
) -> np.ndarray:
    """A part of a plane, enlarged to a size; the middles of its pixels lie as they did."""
    rows, columns = part
    tall = _between(plane.shape[0], rows, size[0])
    first, second, share = tall
    lines = plane[first] * (1 - share)[:, None]
    lines += plane[second] * share[:, None]
    width = round(size[1])
    if width == size[1]:
        # Much faster than columns by their numbers, though all of them are made.
        return cv2.resize(lines, (width, len(lines)), interpolation=cv2.INTER_LINEAR)[:, columns]
    first, second, share = _between(plane.shape[1], columns, size[1])
    return lines[:, first] * (1 - share) + lines[:, second] * share


def _between(count: int, places: slice, size: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
