"""Foreground masks as people have them: what is foreground, and whether it can be worked with."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt, UInt8

from harmony_jax.errors import InputError
from harmony_jax.photos.picture import Picture, to_eight_bits, to_uint8

PixelMask = UInt8[np.ndarray, "_height _width"]  # 255 on the foreground

# The released prediction takes mask values above this as foreground.
FOREGROUND = 100

# A value that is foreground: of a grey mask one number, else red, green and blue.
MaskValue = tuple[int, ...]

# A mask with labels has at most so many values, and half of the values have this share of their
# pixels inside flat areas.
_MOST_LABELS, _FLAT = 256, 0.5
# Share of edges that jump over a grey level: soft edges lead from each level to the next.
_SKIPPING = 0.05

# A mask painted with two colours, also with soft edges or as JPEG: their distance, of 255; how many
# pixels are near one of them, and how near, as a share of that distance; how many pixels are near
# the line between them, and how near, of 255.
_APART = 64
_AT_ENDS, _END = 0.8, 0.15
_ON_LINE, _LINE = 0.95, 80
_NEARLY_GREY = 8  # differences between the channels of a grey mask as WebP
_DARK = 16  # what JPEG makes of black

_SAMPLE = 250_000  # pixels that are looked at to tell a painted mask from a photo
_STRIP = 1_000_000  # pixels that are counted at once


class FoundMask(NamedTuple):
    """A mask that a picture shows."""

    mask: PixelMask
    remark: str | None = None  # an assumption that may be wrong


def mask_of(picture: Picture, wanted: Sequence[MaskValue] = ()) -> FoundMask:
    """The mask that a picture shows.

    An alpha channel that is not constant is the mask. Of two greys the brighter is foreground; more
    greys are a soft mask. Of two colours the one that is not black, or not along the border, is
    foreground; shades between them are soft edges. With labels, as of instances, everything but the
    background is foreground.

    Args:
        picture: the mask, of any kind; a photo is refused.
        wanted: the values that are foreground, in the picture's depth; by default as above.
    """
    if wanted:
        return FoundMask(_chosen(picture, wanted))
    if picture.alpha is not None and picture.alpha.min() < picture.alpha.max():
        return FoundMask(to_uint8(picture.alpha))
    if _is_grey(picture):
        return _of_greys(np.ascontiguousarray(picture.pixels[:, :, 0]))
    return _of_colors(to_eight_bits(picture).pixels)


def alpha_mask(photo: Picture) -> PixelMask:
    """The photo's alpha channel as its mask."""
    if photo.alpha is None:
        raise InputError("no mask, and no alpha channel that could be one: pass a mask")
    return to_uint8(photo.alpha)


def cut_out(photo: Picture, mask: PixelMask) -> Picture:
    """The photo with a mask of its size as alpha channel; what was transparent stays so."""
    alpha = mask.astype(photo.pixels.dtype) * (np.iinfo(photo.pixels.dtype).max // 255)
    return photo._replace(alpha=alpha if photo.alpha is None else np.minimum(alpha, photo.alpha))


def fit_size(mask: PixelMask, height: int, width: int) -> PixelMask:
    """The mask at a photo's size, with soft edges; one that lies on its side is refused."""
    own_height, own_width = mask.shape
    if (own_height, own_width) == (height, width):
        return mask
    turned = (own_width * width) / (own_height * height)  # 1 where sides have changed places
    exactly = (own_height, own_width) == (width, height)
    if exactly or (abs(turned - 1) < 0.01 and not 0.95 < width / height < 1.05):
        raise InputError(
            f"the mask is {own_width} x {own_height}, the photo {width} x {height} (as its "
            "orientation in EXIF shows it): turn the mask by 90 degrees"
        )
    shrinks = own_height > height or own_width > width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(mask, (width, height), interpolation=method)


def looks_inverted(mask: PixelMask) -> bool:
    """Whether more than half of the picture's border would be foreground."""
    return bool((_border(mask) > FOREGROUND).mean() > 0.5)


def check_mask(mask: PixelMask) -> None:
    """Raises InputError unless the mask has both foreground and background."""
    height, width = mask.shape
    if height * width < 2:
        raise InputError(f"{width} x {height} pixels: too small for foreground and background")
    if mask.max() <= FOREGROUND:
        hint = ": white is 255" if mask.max() > 0 else ""
        raise InputError(
            f"the mask has no foreground: its largest value is {mask.max()}, foreground is above "
            f"{FOREGROUND}{hint}"
        )
    if mask.min() > FOREGROUND:
        raise InputError(
            f"the mask has no background to fit to: its smallest value is {mask.min()}, background "
            f"is {FOREGROUND} or less"
        )


def fill_hidden(
    pixels: UInt[np.ndarray, "height width 3"], alpha: UInt[np.ndarray, "height width"]
) -> UInt[np.ndarray, "height width 3"]:
    """Gives transparent pixels the colour of the nearest visible one.

    Programs leave any colours there. Nobody sees them, but the network would.
    """
    hidden = alpha == 0
    if not hidden.any() or hidden.all():
        return pixels
    _, nearest = cv2.distanceTransformWithLabels(
        hidden.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    visible = ~hidden
    colors = np.empty((nearest.max() + 1, 3), pixels.dtype)
    colors[nearest[visible]] = pixels[visible]
    filled = pixels.copy()
    filled[hidden] = colors[nearest[hidden]]
    return filled


def row_strips(pixels: np.ndarray) -> Iterator[slice]:
    """Groups of rows, so that intermediate arrays stay small."""
    step = max(1, _STRIP // pixels.shape[1])
    return (slice(top, top + step) for top in range(0, pixels.shape[0], step))


def _border(pixels: np.ndarray) -> np.ndarray:
    """The pixels along the picture's border, in a row."""
    return np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])


def _is_grey(picture: Picture) -> bool:
    red, *others = np.moveaxis(picture.pixels, 2, 0)
    return picture.grey or all(np.array_equal(red, other) for other in others)


def _chosen(picture: Picture, wanted: Sequence[MaskValue]) -> PixelMask:
    mask = np.zeros(picture.pixels.shape[:2], np.uint8)
    for value in wanted:
        found = (picture.pixels == np.array(value)).all(2)  # one number is a grey
        if not found.any():
            if _is_grey(picture):
                values: list[MaskValue] = [(int(v),) for v in _greys(picture.pixels[:, :, 0])]
            else:
                values = [_unpacked(color) for color in _distinct(to_eight_bits(picture).pixels)]
            text = f"no pixel of value {_text(value)}: it has {_listed(values)}"
            raise InputError(f"the mask has {text}")
        mask[found] = 255
    return mask


def _of_greys(values: UInt[np.ndarray, "height width"]) -> FoundMask:
    present = _greys(values)
    if len(present) == 2:
        return FoundMask(_white(values == present[1]))
    flat, skipping = _look_at_greys(values, present)
    most = np.iinfo(values.dtype).max
    half_of_white = len(present) == 3 and to_uint8(present)[1] > FOREGROUND and present[2] == most
    if flat and half_of_white:
        share = (int(present[1]) - int(present[0])) / (most - int(present[0]))
        remark = f"where it is {present[1]}, {share:.0%} of the change is mixed in"
        return FoundMask(to_uint8(values), remark)
    dark = to_uint8(present)[-1] <= FOREGROUND  # as a soft mask it would have no foreground
    if flat and (dark or (skipping and not half_of_white)):
        labels: list[MaskValue] = [(int(value),) for value in present]
        return FoundMask(_white(values != present[0]), _of_several(labels))
    return FoundMask(to_uint8(values))


def _white(chosen: Bool[np.ndarray, "height width"]) -> PixelMask:
    return np.multiply(chosen, 255, dtype=np.uint8)


def _look_at_greys(values: np.ndarray, present: np.ndarray) -> tuple[bool, bool]:
    """Whether the greys in between lie in flat areas, and whether edges jump over some of them."""
    if not 2 < len(present) <= _MOST_LABELS:
        return False, False
    order = np.zeros(int(present[-1]) + 1, np.int16)
    order[present] = np.arange(len(present))
    numbers = order[values]
    steps = np.concatenate([np.abs(np.diff(numbers, axis=axis)).ravel() for axis in (0, 1)])
    skipping = (steps > 1).sum() >= _SKIPPING * (steps > 0).sum()
    return _are_flat(numbers, np.arange(1, len(present) - 1)), bool(skipping)


def _are_flat(numbers: np.ndarray, those: np.ndarray) -> bool:
    """Whether half of `those` numbers have a share of `_FLAT` of their pixels in flat areas."""
    numbers, window = numbers.astype(np.int16), np.ones((3, 3), np.uint8)
    flat = cv2.erode(numbers, window) == cv2.dilate(numbers, window)
    count = int(numbers.max()) + 1
    everywhere = np.bincount(numbers.ravel(), minlength=count)
    shares = np.bincount(numbers[flat], minlength=count) / np.maximum(everywhere, 1)
    return bool(np.median(shares[those]) >= _FLAT)


def _greys(values: np.ndarray) -> np.ndarray:
    """The values that occur, smallest first."""
    count = np.iinfo(values.dtype).max + 1
    histogram = cv2.calcHist([np.ascontiguousarray(values)], [0], None, [count], [0, count])
    return np.flatnonzero(histogram).astype(values.dtype)


def _of_colors(pixels: UInt8[np.ndarray, "height width 3"]) -> FoundMask:
    colors = _distinct(pixels)
    if len(colors) == 1:
        return FoundMask(np.zeros(pixels.shape[:2], np.uint8))
    if len(colors) == 2:
        return _between(pixels, _unpacked(colors[0]), _unpacked(colors[1]))
    packed = _packed(pixels)
    if len(colors) <= _MOST_LABELS:
        numbers = np.searchsorted(colors, packed)
        if _are_flat(numbers, np.arange(len(colors))):
            values = [_unpacked(color) for color in colors]
            background = _background(values, pixels)
            others = [color for color in values if color != background]
            mask = _white((pixels != np.array(background, np.uint8)).any(2))
            return FoundMask(mask, _of_several([background, *others]))
    ends = _ends(packed)
    if ends is not None:
        return _between(pixels, *ends)
    if np.ptp(pixels, axis=2).max() <= _NEARLY_GREY:
        return FoundMask(np.ascontiguousarray(pixels[:, :, 1]))
    raise InputError(
        f"the mask has {len(colors):,} colours: is it the photo? The photo comes first, then its "
        "mask"
    )


def _of_several(values: list[MaskValue]) -> str:
    """The remark about a mask with several values; the first is the background's."""
    return (
        f"has {len(values) - 1} values besides its background {_text(values[0])} "
        f"({_listed(values[1:])}): all of them are taken as foreground"
    )


def _ends(packed: UInt[np.ndarray, "height width"]) -> tuple[MaskValue, MaskValue] | None:
    """The two colours that a mask is painted with, if all others are shades between them."""
    colors, counts = np.unique(
        packed.ravel()[:: max(1, packed.size // _SAMPLE)], return_counts=True
    )
    rgb = np.stack([colors >> 16, colors >> 8 & 255, colors & 255], 1).astype(np.float32)
    one = _commonest(rgb, counts)
    first = rgb[one]
    apart = np.linalg.norm(rgb - first, axis=1) >= _APART
    if not apart.any():
        return None
    other = _commonest(rgb, np.where(apart, counts, 0))
    second = rgb[other]
    share = _share(rgb, first, second)
    nearest = first + np.clip(share, 0, 1)[:, None] * (second - first)
    at_ends = counts[(share < _END) | (share > 1 - _END)].sum() / counts.sum()
    on_line = counts[np.linalg.norm(rgb - nearest, axis=1) <= _LINE].sum() / counts.sum()
    if at_ends < _AT_ENDS or on_line < _ON_LINE:
        return None
    return _unpacked(colors[one]), _unpacked(colors[other])


def _commonest(rgb: Float[np.ndarray, "n 3"], counts: np.ndarray) -> int:
    """Which colour most pixels have, among those that most pixels nearly have."""
    bins = (rgb.astype(np.int64) // 8) @ np.array([1024, 32, 1])
    nearly = bins == np.bincount(bins, counts).argmax()
    return int(np.where(nearly, counts, -1).argmax())


def _share(rgb: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How far colours are on the way from the first (0) to the second (1)."""
    way = (second - first).astype(np.float32)
    return (rgb.astype(np.float32) - first) @ (way / np.dot(way, way))


def _between(
    pixels: UInt8[np.ndarray, "height width 3"], first: MaskValue, second: MaskValue
) -> FoundMask:
    """The mask that is painted with two colours and the shades between them."""
    remark = None
    background = _background([first, second], pixels)
    if min(max(first), max(second)) > _DARK and not _both_grey(first, second):
        remark = f"of its two colours {_text(background)}, along the border, is its background"
    foreground = second if background == first else first
    mask = np.empty(pixels.shape[:2], np.uint8)
    for rows in row_strips(pixels):
        share = _share(pixels[rows], np.array(background), np.array(foreground))
        mask[rows] = np.rint(np.clip(share, 0, 1) * 255)
    return FoundMask(mask, remark)


def _background(values: list[MaskValue], pixels: np.ndarray) -> MaskValue:
    """Black; of two greys the darker; else the colour nearest to most of the border."""
    darkest = min(values, key=max)
    if max(darkest) == 0 or (len(values) == 2 and (max(darkest) <= _DARK or _both_grey(*values))):
        return darkest
    border = _border(pixels).astype(np.int32)
    distance = np.stack([np.abs(border - np.array(value)).sum(1) for value in values])
    return values[np.bincount(distance.argmin(0), minlength=len(values)).argmax()]


def _both_grey(first: MaskValue, second: MaskValue) -> bool:
    return all(max(value) - min(value) <= _DARK for value in (first, second))


def _distinct(pixels: UInt8[np.ndarray, "height width 3"]) -> UInt[np.ndarray, " n"]:
    """The colours that occur, packed."""
    seen = np.zeros(1 << 24, bool)
    for rows in row_strips(pixels):
        seen[_packed(pixels[rows])] = True
    return np.flatnonzero(seen).astype(np.uint32)


def _packed(pixels: UInt8[np.ndarray, "height width 3"]) -> UInt[np.ndarray, "height width"]:
    red, green, blue = (pixels[:, :, k].astype(np.uint32) for k in range(3))
    return red << 16 | green << 8 | blue


def _unpacked(color: np.integer) -> MaskValue:
    return int(color) >> 16, int(color) >> 8 & 255, int(color) & 255


def _text(value: MaskValue) -> str:
    return ",".join(map(str, value))


def _listed(values: list[MaskValue]) -> str:
    shown = "; ".join(_text(value) for value in values[:6])
    return shown if len(values) <= 6 else f"{shown} and {len(values) - 6} more"
