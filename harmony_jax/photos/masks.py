"""Foreground masks as people have them: what is foreground, and whether it can be worked with."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt, UInt8

from harmony_jax.errors import InputError
from harmony_jax.photos.formats import Picture, to_eight_bits, to_uint8

PixelMask = UInt8[np.ndarray, "_height _width"]  # 255 on the foreground

# The released prediction takes mask values above this as foreground.
FOREGROUND = 100

# A value that is foreground: of a grey mask one number, else red, green and blue.
MaskValue = tuple[int, ...]

# A mask whose parts are marked by values has no more of them, and neighbours mostly share theirs.
_MOST_VALUES = 256
_ALIKE = 0.75
# Shades of grey of which none is white: parts if they are so few, or all as dark as background.
_MOST_GREYS = 8
# Of the borders between greys so many skip a grey, if the greys are labels; of the pixels of a
# label so many have only their like around them; and of the labels so many are like that.
_SKIPPING, _FLAT, _MOSTLY = 0.05, 0.3, 0.8
_FEW = 32  # colours that are a mask's own, and not made by lossy compression
_FEWEST_SHADES = 6  # on a line between two colours, these with them, before they are soft edges

# Distances of colours, of 255: the same but for lossy compression; blurred by it, at an edge.
_SAME, _BLURRED = 16, 40
_APART = 64  # two colours that a person would paint a mask with
_NEARLY_GREY = 8

_SAMPLE = 250_000  # pixels that are looked at to tell a painted mask from a photo
_STRIP = 1_000_000  # pixels that are counted at once


class FoundMask(NamedTuple):
    """A mask that a picture shows.

    Attributes:
        mask: 255 on the foreground.
        remark: what was decided that its maker may not have meant, or None.
    """

    mask: PixelMask
    remark: str | None = None


def mask_of(picture: Picture, wanted: Sequence[MaskValue] = ()) -> FoundMask:
    """The mask that a picture shows.

    An alpha channel that is not constant is the mask, as of a cutout. Of two grey values the
    brighter is foreground; more shades are a soft mask. Of two colours black is background, else
    the one along the border; shades between them are soft edges. Of several values, as of labelled
    instances, all but the background's are foreground.

    Args:
        picture: the mask, of any kind.
        wanted: the values that are foreground, in the picture's depth; by default as above.

    Raises:
        InputError: it looks like a photo, or has none of the wanted values.
    """
    if wanted:
        return FoundMask(_chosen(picture, wanted))
    if picture.alpha is not None and picture.alpha.min() < picture.alpha.max():
        return FoundMask(to_uint8(picture.alpha))
    if _is_grey(picture):
        return _of_greys(np.ascontiguousarray(picture.pixels[:, :, 0]))
    return _of_colors(to_eight_bits(picture).pixels)


def alpha_mask(photo: Picture) -> PixelMask:
    """The photo's alpha channel as its mask.

    Raises:
        InputError: it has none.
    """
    if photo.alpha is None:
        raise InputError("no mask, and no alpha channel that could be one: pass a mask")
    return to_uint8(photo.alpha)


def cut_out(photo: Picture, mask: PixelMask) -> Picture:
    """The photo with a mask of its size as alpha channel; what was transparent stays so."""
    alpha = mask.astype(photo.pixels.dtype) * (np.iinfo(photo.pixels.dtype).max // 255)
    return photo._replace(alpha=alpha if photo.alpha is None else np.minimum(alpha, photo.alpha))


def fit_size(mask: PixelMask, height: int, width: int) -> PixelMask:
    """The mask at a photo's size; its edges become soft.

    Raises:
        InputError: it lies where the photo stands, or stands where it lies.
    """
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
    """A photo whose transparent pixels have the colour of the nearest that is not.

    What lies under them is whatever a program left there; nobody sees it, but a network would.
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
    """A picture's rows in turn, so many at a time that what is computed of them stays small."""
    step = max(1, _STRIP // pixels.shape[1])
    return (slice(top, top + step) for top in range(0, pixels.shape[0], step))


def _border(pixels: np.ndarray) -> np.ndarray:
    """The pixels along the picture's border, in a row."""
    return np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])


def _is_grey(picture: Picture) -> bool:
    red, green, blue = (picture.pixels[:, :, k] for k in range(3))
    return picture.grey or (np.array_equal(red, green) and np.array_equal(red, blue))


def _chosen(picture: Picture, wanted: Sequence[MaskValue]) -> PixelMask:
    mask = np.zeros(picture.pixels.shape[:2], np.uint8)
    for value in wanted:
        found = (picture.pixels == np.array(value)).all(2)  # one number is a grey
        if not found.any():
            raise InputError(
                f"the mask has no pixel of value {_text(value)}: it has {_has(picture)}"
            )
        mask[found] = 255
    return mask


def _has(picture: Picture) -> str:
    """The values of a mask, for messages."""
    if _is_grey(picture):
        return _listed([(int(value),) for value in _greys(picture.pixels[:, :, 0])])
    colors = _distinct(to_eight_bits(picture).pixels)
    return _listed([_unpacked(color) for color in colors])


def _of_greys(values: UInt[np.ndarray, "height width"]) -> FoundMask:
    present = _greys(values)
    if len(present) == 2:
        return FoundMask(_white(values == present[1]))
    white = np.iinfo(values.dtype).max
    dark = to_uint8(present[-1:])[0] <= FOREGROUND
    few = (len(present) <= _MOST_GREYS and present[-1] < white) or (len(present) <= _FEW and dark)
    if len(present) > 2 and (few or _are_labels(values, present)):
        return FoundMask(
            _white(values != present[0]), _of_several([(int(value),) for value in present])
        )
    remark = None
    if len(present) == 3 and _flat_shares(values == present[1], 2)[1] >= _FLAT:
        share = (int(present[1]) - int(present[0])) / (int(present[2]) - int(present[0]))
        remark = f"where it is {present[1]}, {share:.0%} of the change is mixed in"
    return FoundMask(to_uint8(values), remark)


def _white(chosen: Bool[np.ndarray, "height width"]) -> PixelMask:
    """A mask of what is chosen."""
    return np.multiply(chosen, 255, dtype=np.uint8)


def _are_labels(values: UInt[np.ndarray, "height width"], present: np.ndarray) -> bool:
    """Whether greys number parts, white among them, and are no shades of softness.

    Parts are flat, and lie beside others of any number; shades lie beside the next one, or are not
    flat. Of three greys the middle one may be meant as half of white, unless it is dark.
    """
    if len(present) > _MOST_VALUES:
        return False
    if len(present) == 3 and to_uint8(present[1:2])[0] > FOREGROUND:
        return False
    order = np.zeros(int(present[-1]) + 1, np.int16)
    order[present] = np.arange(len(present))
    numbers = order[values]
    steps = np.concatenate([np.abs(np.diff(numbers, axis=axis)).ravel() for axis in (0, 1)])
    if (steps > 1).sum() < _SKIPPING * (steps > 0).sum():
        return False
    return bool((_flat_shares(numbers, len(present))[1:-1] >= _FLAT).mean() >= _MOSTLY)


def _flat_shares(numbers: np.ndarray, count: int) -> Float[np.ndarray, " count"]:
    """Of the pixels of each number what share has only its like around it."""
    numbers, window = numbers.astype(np.int16), np.ones((3, 3), np.uint8)
    flat = cv2.erode(numbers, window) == cv2.dilate(numbers, window)
    everywhere = np.bincount(numbers.ravel(), minlength=count)
    return np.bincount(numbers[flat], minlength=count) / np.maximum(everywhere, 1)


def _greys(values: np.ndarray) -> np.ndarray:
    """The values that there are, smallest first, of their type."""
    count = np.iinfo(values.dtype).max + 1
    histogram = cv2.calcHist([np.ascontiguousarray(values)], [0], None, [count], [0, count])
    return np.flatnonzero(histogram).astype(values.dtype)


def _of_colors(pixels: UInt8[np.ndarray, "height width 3"]) -> FoundMask:
    colors = _distinct(pixels)
    if len(colors) == 1:
        return FoundMask(np.zeros(pixels.shape[:2], np.uint8))
    if len(colors) == 2:
        return _between(pixels, _unpacked(colors[0]), _unpacked(colors[1]))
    step = max(1, pixels.shape[0] * pixels.shape[1] // _SAMPLE)
    sample, counts = np.unique(_packed(pixels).ravel()[::step], return_counts=True)
    ends = _ends(sample, counts, len(colors))
    if ends is not None:
        return _between(pixels, *ends)
    if len(colors) > _MOST_VALUES and np.ptp(pixels, axis=2).max() <= _NEARLY_GREY:
        return FoundMask(np.ascontiguousarray(pixels[:, :, 1]))
    packed = _packed(pixels)
    if len(colors) > _MOST_VALUES or (packed[:, 1:] == packed[:, :-1]).mean() < _ALIKE:
        raise InputError(
            f"the mask has {len(colors):,} colours: is it the photo? The photo comes first, then "
            "its mask"
        )
    background = _background([_unpacked(color) for color in colors], pixels)
    values = [background, *(_unpacked(color) for color in colors)]
    mask = _white((pixels != np.array(background, np.uint8)).any(2))
    return FoundMask(mask, _of_several(list(dict.fromkeys(values))))


def _of_several(values: list[MaskValue]) -> str:
    """What is said of a mask with several values, of which the first is the background's."""
    return (
        f"has {len(values) - 1} values besides its background {_text(values[0])} "
        f"({_listed(values[1:])}): all of them are taken as foreground"
    )


def _ends(
    colors: UInt[np.ndarray, " n"], counts: np.ndarray, total: int
) -> tuple[MaskValue, MaskValue] | None:
    """The two colours of a painted mask, if all others are shades between them.

    Args:
        colors: of a sample of pixels, packed.
        counts: how many pixels have each.
        total: how many colours the whole picture has.
    """
    rgb = np.stack([colors >> 16, colors >> 8 & 255, colors & 255], 1).astype(np.float32)
    first = _commonest(rgb, counts)
    apart = np.linalg.norm(rgb - first, axis=1) >= _APART
    if not apart.any():
        return None
    second = _commonest(rgb, np.where(apart, counts, 0))
    share = _share(rgb, first, second)
    place = np.clip(share, 0, 1)[:, None]
    off = np.linalg.norm(rgb - first - place * (second - first), axis=1)
    from_end = np.minimum(*(np.linalg.norm(rgb - end, axis=1) for end in (first, second)))
    few = total <= _FEW
    if total < _FEWEST_SHADES and (from_end > _SAME).any():
        return None
    at_ends = counts[(share < 0.15) | (share > 0.85)].sum() / counts.sum()
    on_line = counts[off <= (_SAME if few else _BLURRED)].sum() / counts.sum()
    if at_ends < 0.8 or on_line < (1 if few else 0.99):
        return None
    return _as_value(first), _as_value(second)


def _commonest(rgb: Float[np.ndarray, "n 3"], counts: np.ndarray) -> np.ndarray:
    """The colour that most pixels have, of those that most pixels nearly have."""
    bins = (rgb.astype(np.int64) // 8) @ np.array([1024, 32, 1])
    nearly = bins == np.bincount(bins, counts).argmax()
    return rgb[np.where(nearly, counts, -1).argmax()]


def _share(rgb: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How far colours are on the way from the first to the second, of which 1 is all."""
    way = (second - first).astype(np.float32)
    return (rgb.astype(np.float32) - first) @ (way / np.dot(way, way))


def _between(
    pixels: UInt8[np.ndarray, "height width 3"], first: MaskValue, second: MaskValue
) -> FoundMask:
    """The mask that is painted with two colours, and shades between them."""
    remark = None
    background = _background([first, second], pixels)
    if min(max(first), max(second)) > _SAME and not _both_grey(first, second):
        remark = (
            f"of its two colours {_text(background)}, which lies along the border, is taken as "
            "background"
        )
    foreground = second if background == first else first
    mask = np.empty(pixels.shape[:2], np.uint8)
    for rows in row_strips(pixels):
        share = _share(pixels[rows], np.array(background), np.array(foreground))
        mask[rows] = np.rint(np.clip(share, 0, 1) * 255)
    return FoundMask(mask, remark)


def _background(values: list[MaskValue], pixels: np.ndarray) -> MaskValue:
    """Black; of two greys the darker; else the colour that most of the border has, or nearly."""
    darkest = min(values, key=max)
    if max(darkest) == 0 or (len(values) == 2 and (max(darkest) <= _SAME or _both_grey(*values))):
        return darkest
    border = _border(pixels).astype(np.int32)
    distance = np.stack([np.abs(border - np.array(value)).sum(1) for value in values])
    return values[np.bincount(distance.argmin(0), minlength=len(values)).argmax()]


def _both_grey(first: MaskValue, second: MaskValue) -> bool:
    return all(max(value) - min(value) <= _SAME for value in (first, second))


def _distinct(pixels: UInt8[np.ndarray, "height width 3"]) -> UInt[np.ndarray, " n"]:
    """The colours that there are, packed."""
    seen = np.zeros(1 << 24, bool)
    for rows in row_strips(pixels):
        seen[_packed(pixels[rows])] = True
    return np.flatnonzero(seen).astype(np.uint32)


def _packed(pixels: UInt8[np.ndarray, "height width 3"]) -> UInt[np.ndarray, "height width"]:
    red, green, blue = (pixels[:, :, k].astype(np.uint32) for k in range(3))
    return red << 16 | green << 8 | blue


def _unpacked(color: np.integer) -> MaskValue:
    return int(color) >> 16, int(color) >> 8 & 255, int(color) & 255


def _as_value(color: np.ndarray) -> MaskValue:
    return tuple(int(channel) for channel in color)


def _text(value: MaskValue) -> str:
    return ",".join(map(str, value))


def _listed(values: list[MaskValue]) -> str:
    shown = "; ".join(_text(value) for value in values[:6])
    return shown if len(values) <= 6 else f"{shown} and {len(values) - 6} more"
