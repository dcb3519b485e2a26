"""Pastes a cutout on a background: the composite to harmonize, and its mask."""

import math
from typing import Literal, NamedTuple, get_args

import cv2
import numpy as np

from harmony_jax.errors import InputError
from harmony_jax.photos.color import convert, is_usable
from harmony_jax.photos.masks import FOREGROUND, PixelMask, alpha_mask, fill_hidden, row_strips
from harmony_jax.photos.picture import MAX_PIXELS, Picture, to_uint8, to_uint16

Gravity = Literal[
    "northwest", "north", "northeast", "west", "center", "east", "southwest", "south", "southeast"
]
GRAVITIES: tuple[str, ...] = get_args(Gravity)


class Placement(NamedTuple):
    """Where a cutout lies on its background, and how large.

    Attributes:
        at: column and row of the cutout's upper left corner, transparent margin included; they may
            be negative.
        gravity: instead, the side or corner of the background that the visible part of the cutout
            touches. Without either, the cutout is centred.
        scale: a factor on the cutout's width and height.
        fit: instead, the share of the background's width or height, whichever comes first, that the
            visible part of the cutout fills.
    """

    at: tuple[int, int] | None = None
    gravity: Gravity | None = None
    scale: float | None = None
    fit: float | None = None


CENTERED = Placement()


def check_placement(placement: Placement) -> None:
    """Raises InputError for an invalid placement, and names the field."""
    if placement.at is not None and placement.gravity is not None:
        raise InputError("at and gravity: both say where the cutout lies: pass one")
    if placement.scale is not None and placement.fit is not None:
        raise InputError("scale and fit: both say how large the cutout is: pass one")
    if placement.gravity is not None and placement.gravity not in GRAVITIES:
        raise InputError(f"gravity {placement.gravity!r}: expected one of {', '.join(GRAVITIES)}")
    for name in ("scale", "fit"):
        value = getattr(placement, name)
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"{name} {value}: expected more than 0")


def paste(
    cutout: Picture,
    background: Picture,
    placement: Placement = CENTERED,
    max_pixels: int = MAX_PIXELS,
) -> tuple[Picture, PixelMask]:
    """Lays a cutout on a background; one that is scaled to more than `max_pixels` is refused.

    Returns:
        The composite, with the background's size, depth, profile and metadata, and its mask: the
        cutout's alpha channel in its place. Where the mask is 0, the composite is the background.
    """
    check_placement(placement)
    alpha = opacity_of(cutout)
    height, width, _ = background.pixels.shape
    size = _size(alpha, placement, (height, width), max_pixels)
    pixels = _colors_as(cutout, background)
    if size != alpha.shape:
        pixels = _resized(fill_hidden(pixels, alpha), size, cv2.INTER_CUBIC)
        alpha = _resized(alpha, size, cv2.INTER_LINEAR)
    top, left = _corner(alpha, placement, (height, width))
    rows = slice(max(top, 0), min(top + size[0], height))
    columns = slice(max(left, 0), min(left + size[1], width))
    own_rows = slice(rows.start - top, rows.stop - top)
    own_columns = slice(columns.start - left, columns.stop - left)
    inside = rows.start < rows.stop and columns.start < columns.stop
    if not inside or not alpha[own_rows, own_columns].any():
        raise InputError(
            f"the cutout, {size[1]} x {size[0]} pixels at {left},{top}, lies outside of the "
            f"background, {width} x {height}: place it elsewhere"
        )
    mask = np.zeros((height, width), np.uint8)
    mask[rows, columns] = alpha[own_rows, own_columns]
    composite = background._replace(
        pixels=background.pixels.copy(),
        alpha=None if background.alpha is None else background.alpha.copy(),
        grey=background.grey and cutout.grey,
    )
    _lay_over(composite, pixels[own_rows, own_columns], mask, (rows, columns))
    return composite, mask


def opacity_of(cutout: Picture) -> PixelMask:
    """A cutout's opacity; raises InputError if it is opaque or transparent everywhere."""
    if cutout.alpha is None:
        raise InputError("the cutout has no alpha channel: pass its mask, or cut it out")
    alpha = alpha_mask(cutout)
    if alpha.min() == 255:
        raise InputError("the cutout is opaque everywhere: pass its mask, or cut it out")
    if not alpha.any():
        raise InputError("the cutout is transparent everywhere: there is nothing to paste")
    return alpha


def _size(
    alpha: PixelMask, placement: Placement, background: tuple[int, int], max_pixels: int
) -> tuple[int, int]:
    """Height and width of the cutout on the background, with its transparent margin."""
    scale = 1.0 if placement.scale is None else placement.scale
    if placement.fit is not None:
        visible = _visible(alpha)
        scale = placement.fit * min(
            side / (part.stop - part.start) for side, part in zip(background, visible, strict=True)
        )
    sides = [side * scale for side in alpha.shape]
    if sides[0] * sides[1] > max_pixels:
        raise InputError(
            f"the cutout becomes {sides[1]:.0f} x {sides[0]:.0f} pixels, {scale:g} times its size: "
            f"at most {max_pixels / 1e6:g} megapixels are taken: make it smaller"
        )
    return max(1, round(sides[0])), max(1, round(sides[1]))


def _corner(alpha: PixelMask, placement: Placement, background: tuple[int, int]) -> tuple[int, int]:
    """Row and column of the background where the cutout's corner lies."""
    if placement.at is not None:
        return placement.at[1], placement.at[0]
    gravity = placement.gravity
    if gravity is None:
        return (background[0] - alpha.shape[0]) // 2, (background[1] - alpha.shape[1]) // 2
    rows, columns = _visible(alpha)
    top = _along(rows, background[0], gravity.startswith("north"), gravity.startswith("south"))
    return top, _along(columns, background[1], gravity.endswith("west"), gravity.endswith("east"))


def _along(part: slice, side: int, at_start: bool, at_end: bool) -> int:
    """Where a row or column of pixels begins whose visible `part` is aligned on a `side`."""
    if at_start:
        return -part.start
    if at_end:
        return side - part.stop
    return (side - (part.stop - part.start)) // 2 - part.start


def _visible(alpha: PixelMask) -> tuple[slice, slice]:
    """The rows and columns where the cutout is visible; soft edges and shadows do not count."""
    seen = alpha > min(FOREGROUND, int(alpha.max()) - 1)
    rows, columns = (np.flatnonzero(seen.any(axis)) for axis in (1, 0))
    top, bottom, left, right = map(int, (rows[0], rows[-1], columns[0], columns[-1]))
    return slice(top, bottom + 1), slice(left, right + 1)


def _resized(pixels: np.ndarray, size: tuple[int, int], enlarging: int) -> np.ndarray:
    method = cv2.INTER_AREA if size[0] < pixels.shape[0] else enlarging
    return cv2.resize(pixels, (size[1], size[0]), interpolation=method)


def _colors_as(cutout: Picture, background: Picture) -> np.ndarray:
    """The cutout's pixels in the background's depth, and where visible in its colours."""
    pixels = cutout.pixels
    source, target = (
        profile if profile and is_usable(profile, grey=False) else None
        for profile in (cutout.icc_profile, background.icc_profile)
    )
    if source != target:
        assert cutout.alpha is not None
        pixels = convert(pixels, source, target, cutout.alpha)
    if background.pixels.dtype == np.uint8:
        return to_uint8(pixels)
    return to_uint16(pixels)


def _lay_over(
    composite: Picture, colors: np.ndarray, mask: PixelMask, window: tuple[slice, slice]
) -> None:
    """Mixes colours into a window of the composite, in place, as its mask there says."""
    full = np.iinfo(colors.dtype).max
    below = composite.pixels[window]
    opacity = None if composite.alpha is None else composite.alpha[window]
    for rows in row_strips(colors):
        own = mask[window][rows, :, None].astype(np.float32) / 255
        part = below[rows].astype(np.float32)
        if opacity is None:
            mixed = part + (colors[rows] - part) * own
        else:  # Porter and Duff's "over", of colours that alpha is not multiplied into
            rest = opacity[rows, :, None].astype(np.float32) / full * (1 - own)
            total = own + rest
            mixed = (colors[rows] * own + part * rest) / np.maximum(total, 1e-6)
            opaque = np.rint(total[:, :, 0] * full).astype(opacity.dtype)
            opacity[rows] = np.where(own[:, :, 0] > 0, opaque, opacity[rows])
        below[rows] = np.where(own > 0, np.rint(mixed), below[rows]).astype(below.dtype)
