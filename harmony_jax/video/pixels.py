"""A frame's planes as arrays, and what their numbers mean."""

from contextlib import suppress
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float64, UInt8

from harmony_jax.data.resizing import shrink
from harmony_jax.errors import InputError
from harmony_jax.photos.color import HDR
from harmony_jax.photos.masks import PixelMask

# Weights of red and blue in luma, by the number of the matrix (ITU-T H.273, table 4).
_BT709, _BT601 = (0.2126, 0.0722), (0.299, 0.114)
_WEIGHTS = {
    1: _BT709,
    4: (0.30, 0.11),  # FCC
    5: _BT601,
    6: _BT601,
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020
}
_RGB_MATRIX, _UNKNOWN_MATRIX = 0, (2, 3)
FULL_RANGE = 2
_HIGH_DEFINITION = 720  # rows from which a frame without a named matrix has BT.709

# By columns and rows of chroma where luma has 16 of each.
_SUBSAMPLINGS = {
    (16, 16): "444",
    (8, 16): "422",
    (8, 8): "420",
    (16, 8): "440",
    (4, 16): "411",
    (4, 4): "410",
}
# Formats with these in their names have no planar format of the same integers.
_UNSUPPORTED = ("f16", "f32", "xyz", "msb")


class Meaning(NamedTuple):
    """What the numbers of a frame mean: RGB in [0, 255] is `matrix @ numbers + offset`."""

    matrix: Float64[np.ndarray, "3 n"]  # of Y, U and V, of R, G and B, or of Y alone
    offset: Float64[np.ndarray, " 3"]
    back: Float64[np.ndarray, "n 3"]  # the numbers' change is `back @ change of RGB`
    black: int  # the number that luma has for black
    full: int  # the largest number that can be stored
    is_rgb: bool


class Planes(NamedTuple):
    """Arrays of uint8 or uint16 that share a frame's memory."""

    color: tuple[np.ndarray, ...]  # Y, U and V (which may be smaller), or R, G and B, or Y alone
    alpha: np.ndarray | None
    meaning: Meaning


def planar_format(format_: Any, label: str) -> str:
    """The pixel format that holds the same numbers, each component in a plane of its own.

    Floating point, Bayer patterns and 5 bits, which have none, are refused.
    """
    kind, components = type(format_), format_.components
    if len(components) in (1, 3, 4) and not any(part in format_.name for part in _UNSUPPORTED):
        alpha = "a" if components[-1].is_alpha else ""
        bits = components[0].bits
        depth = "" if bits == 8 else f"{bits}le"
        chroma = format_.chroma_width(16), format_.chroma_height(16)
        if format_.has_palette:
            name = "gbrap"
        elif format_.is_rgb:
            name = f"gbr{alpha}p{depth}"
        elif len(components) == 1:
            name = f"gray{depth}"
        else:
            name = f"yuv{alpha}{_SUBSAMPLINGS.get(chroma)}p{depth}"
        with suppress(ValueError):
            return kind(name).name
    raise InputError(
        f"{label}: the pixel format {format_.name} is not supported: convert the clip to yuv420p, "
        "yuv422p10le or rgb24"
    )


def check_colors(frame: Any, label: str) -> None:
    """Raises InputError for HDR, which the networks have never seen, and for unknown matrices."""
    if frame.color_trc in HDR:
        raise InputError(
            f"{label}: an HDR clip ({HDR[frame.color_trc]}), brighter than white: convert it to "
            "SDR (BT.709) first"
        )
    matrix = frame.colorspace
    known = matrix in _WEIGHTS or matrix in (_RGB_MATRIX, *_UNKNOWN_MATRIX)
    if not known and not frame.format.is_rgb:
        raise InputError(
            f"{label}: the colour matrix number {matrix} is not known: convert the clip to BT.709"
        )


def planes_of(frame: Any) -> Planes:
    """The planes of a frame in a planar format."""
    components = frame.format.components
    arrays = [_plane(frame, component) for component in components]
    alpha = arrays.pop() if components[-1].is_alpha else None
    bits = components[0].bits
    if frame.format.is_rgb:
        full = (1 << bits) - 1
        matrix = np.eye(3) * (255 / full)
        meaning = Meaning(matrix, np.zeros(3), np.linalg.inv(matrix), 0, full, is_rgb=True)
    else:
        is_grey = len(arrays) == 1
        # A grey frame that names no range has the full one.
        is_full = frame.color_range == FULL_RANGE or (is_grey and frame.color_range == 0)
        meaning = _yuv_meaning(matrix_of(frame), is_full, bits)
        if is_grey:
            gain = meaning.matrix[:, :1]
            meaning = meaning._replace(
                matrix=gain, offset=-gain[:, 0] * meaning.black, back=meaning.back[:1]
            )
    return Planes(tuple(arrays), alpha, meaning)


def matrix_of(frame: Any) -> int:
    """The number of a frame's matrix in ITU-T H.273; if it names none, that of its size."""
    if frame.colorspace in _WEIGHTS:
        return frame.colorspace
    return 1 if frame.height >= _HIGH_DEFINITION else 5


def _yuv_meaning(matrix: int, is_full: bool, bits: int) -> Meaning:
    """What Y, U and V mean; Y goes from 16 to 235, or in full range from 0 to 255 (in 8 bits)."""
    red, blue = _WEIGHTS[matrix]
    green = 1 - red - blue
    from_red, from_blue = 2 * (1 - red), 2 * (1 - blue)
    rows = np.array(
        [
            [1, 0, from_red],
            [1, -from_blue * blue / green, -from_red * red / green],
            [1, from_blue, 0],
        ]
    )
    full = (1 << bits) - 1
    unit = 1 << (bits - 8)
    black, luma, chroma = (0, full, full) if is_full else (16 * unit, 219 * unit, 224 * unit)
    scaled = rows * (255 / np.array([luma, chroma, chroma]))
    offset = -scaled @ np.array([black, 128 * unit, 128 * unit])
    return Meaning(scaled, offset, np.linalg.inv(scaled), black, full, is_rgb=False)


def seen_by_network(planes: Planes, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """RGB at the network's size."""
    return _to_rgb([shrink(plane, size) for plane in planes.color], planes.meaning, np.uint8)


def rgb_of(planes: Planes) -> np.ndarray:
    """The whole frame as RGB [height, width, 3]: uint8, or uint16 if it has more bits."""
    shape = planes.color[0].shape
    whole = [at_size(plane.astype(np.float32), shape) for plane in planes.color]
    return _to_rgb(whole, planes.meaning, np.uint8 if planes.meaning.full == 255 else np.uint16)


def _to_rgb(planes: list[np.ndarray], meaning: Meaning, kind: type) -> np.ndarray:
    top = np.iinfo(kind).max
    matrix = np.column_stack([meaning.matrix, meaning.offset]) * (top / 255)
    numbers = cv2.merge([plane.astype(np.float32) for plane in planes])
    return np.rint(np.clip(cv2.transform(numbers, matrix), 0, top)).astype(kind)


def at_size(plane: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A plane of luma's or chroma's size at the size of the other.

    Chroma may cover a row or column more than luma has.
    """
    if plane.shape == shape:
        return plane
    if plane.shape < shape:
        tall, wide = covered(shape, plane.shape)
        size = (plane.shape[1] * wide, plane.shape[0] * tall)
        return cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR)[: shape[0], : shape[1]]
    tall, wide = covered(plane.shape, shape)
    below, right = shape[0] * tall - plane.shape[0], shape[1] * wide - plane.shape[1]
    plane = cv2.copyMakeBorder(plane, 0, below, 0, right, cv2.BORDER_REPLICATE)
    return cv2.resize(plane, shape[::-1], interpolation=cv2.INTER_AREA)


def covered(luma: tuple[int, ...], chroma: tuple[int, ...]) -> tuple[int, int]:
    """How many of luma's rows and columns one of chroma covers, from the shapes of both."""
    tall, wide = (
        next(factor for factor in (1, 2, 4) if -(-big // factor) == small)
        for big, small in zip(luma, chroma, strict=True)
    )
    return tall, wide


def alpha_of(planes: Planes) -> PixelMask | None:
    """Opacity as a mask, or None."""
    if planes.alpha is None:
        return None
    return _to_eight_bits(planes.alpha, 255 / planes.meaning.full, 0)


def brightness_of(planes: Planes) -> PixelMask:
    """Luma, from black to white."""
    meaning = planes.meaning
    if meaning.is_rgb:
        rgb = _to_rgb(list(planes.color), meaning, np.uint8)
        return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return _to_eight_bits(planes.color[0], meaning.matrix[0, 0], meaning.black)


def _to_eight_bits(plane: np.ndarray, scale: float, black: int) -> PixelMask:
    return cv2.addWeighted(plane, scale, plane, 0, -black * scale, dtype=cv2.CV_8U)


def _plane(frame: Any, component: Any) -> np.ndarray:
    plane = frame.planes[component.plane]
    kind = np.dtype(np.uint8 if component.bits == 8 else "<u2")
    rows = np.frombuffer(plane, kind).reshape(-1, plane.line_size // kind.itemsize)
    return rows[: component.height, : component.width]
