"""A frame's planes as arrays, in the frame's own pixel format, and what their numbers mean."""

from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float64, UInt8

from harmony_jax.data.resizing import shrink
from harmony_jax.errors import InputError
from harmony_jax.photos.masks import PixelMask

# Weights of red and blue in luma, by the matrix that a frame names (ITU-T H.273, table 4).
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
_LIMITED, _FULL = 1, 2
_HDR = {16: "PQ", 18: "HLG"}  # of transfer characteristics
_HIGH_DEFINITION = 720  # rows from which BT.709 is meant where a frame names no matrix

# Where red, green, blue and alpha lie in a pixel.
_PACKED = {
    "rgb24": (0, 1, 2),
    "bgr24": (2, 1, 0),
    "rgba": (0, 1, 2, 3),
    "bgra": (2, 1, 0, 3),
    "argb": (1, 2, 3, 0),
    "abgr": (3, 2, 1, 0),
    "rgb0": (0, 1, 2),
    "bgr0": (2, 1, 0),
    "0rgb": (1, 2, 3),
    "0bgr": (3, 2, 1),
    "rgb48le": (0, 1, 2),
    "bgr48le": (2, 1, 0),
    "rgba64le": (0, 1, 2, 3),
    "bgra64le": (2, 1, 0, 3),
}
_BYTES_A_PIXEL = {"rgb24": 3, "bgr24": 3, "rgb48le": 6, "bgr48le": 6, "rgba64le": 8, "bgra64le": 8}

# Formats that are unpacked first, to one that holds the same numbers.
_REPACKED = {
    "nv12": "yuv420p",
    "nv21": "yuv420p",
    "nv16": "yuv422p",
    "nv24": "yuv444p",
    "p010le": "yuv420p10le",
    "yuyv422": "yuv422p",
    "uyvy422": "yuv422p",
    "yvyu422": "yuv422p",
    "pal8": "bgra",
    "yuvj420p": "yuv420p",  # whose range is full, which frames say by themselves
    "yuvj422p": "yuv422p",
    "yuvj444p": "yuv444p",
    "yuvj440p": "yuv440p",
    "yuvj411p": "yuv411p",
}


class Meaning(NamedTuple):
    """What the numbers of a frame mean: RGB in [0, 255] is `matrix @ numbers + offset`.

    Attributes:
        matrix: of Y, U and V as they are stored, or of R, G and B.
        offset: added to it.
        full: the largest number that can be stored.
        is_rgb: whether they are R, G and B.
    """

    matrix: Float64[np.ndarray, "3 3"]
    offset: Float64[np.ndarray, " 3"]
    full: int
    is_rgb: bool


class Planes(NamedTuple):
    """A frame's memory.

    Attributes:
        color: Y, U and V, or R, G and B, uint8 or uint16, which share the frame's memory; U and V
            may be smaller; Y alone of a grey frame.
        alpha: opacity, or None.
        meaning: of the colours' numbers.
        alpha_full: the largest number of alpha.
    """

    color: tuple[np.ndarray, ...]
    alpha: np.ndarray | None
    meaning: Meaning
    alpha_full: int


def worked_format(name: str, is_big_endian: bool) -> str:
    """The pixel format in which frames of a format are worked on: the same numbers, unpacked."""
    if name in _REPACKED:
        return _REPACKED[name]
    return f"{name[:-2]}le" if is_big_endian else name


def check_format(format_: Any, label: str) -> None:
    """Raises InputError for a pixel format that is not worked on."""
    name = worked_format(format_.name, format_.is_big_endian)
    if name in _PACKED or _is_planar(type(format_)(name, 16, 16)):
        return
    raise InputError(
        f"{label}: the pixel format {format_.name} is not taken: convert the clip to yuv420p, "
        "yuv422p10le, rgb24 or another planar one"
    )


def check_colors(frame: Any, label: str) -> None:
    """Raises InputError for colours that a network has not seen, or a matrix that is not known."""
    if frame.color_trc in _HDR:
        raise InputError(
            f"{label}: an HDR clip ({_HDR[frame.color_trc]}), brighter than white: convert it to "
            "SDR (BT.709) first"
        )
    matrix = frame.colorspace
    known = matrix in _WEIGHTS or matrix in (_RGB_MATRIX, *_UNKNOWN_MATRIX)
    if not known and not frame.format.is_rgb:
        raise InputError(
            f"{label}: the colour matrix number {matrix} is not known: convert the clip to BT.709"
        )


def planes_of(frame: Any) -> Planes:
    """The planes of a frame whose format and colours were checked."""
    name = frame.format.name
    if name in _PACKED:
        pixels = _packed(frame, name)
        full = int(np.iinfo(pixels.dtype).max)
        places = _PACKED[name]
        color = tuple(pixels[:, :, place] for place in places[:3])
        alpha = pixels[:, :, places[3]] if len(places) == 4 else None
        return Planes(color, alpha, _rgb_meaning(full), full)
    components = frame.format.components
    arrays = [_plane(frame, component) for component in components]
    fulls = [(1 << component.bits) - 1 for component in components]
    alpha = None
    if components[-1].is_alpha:
        alpha = arrays.pop()
    if frame.format.is_rgb:
        meaning = _rgb_meaning(fulls[0])
    else:
        meaning = yuv_meaning(frame.colorspace, _is_full(frame), components[0].bits, frame.height)
    return Planes(tuple(arrays), alpha, meaning, fulls[-1])


def yuv_meaning(matrix: int, is_full: bool, bits: int, height: int) -> Meaning:
    """What Y, U and V mean.

    Args:
        matrix: its number in ITU-T H.273; unknown ones are BT.709 from 720 rows, else BT.601.
        is_full: whether the whole range of numbers is used, and not 16 to 235 (240) of 255.
        bits: of the numbers.
        height: of the frame.
    """
    red, blue = _WEIGHTS[_known(matrix, height)]
    full = (1 << bits) - 1
    unit = 1 << (bits - 8)
    black, luma, chroma = (0, full, full) if is_full else (16 * unit, 219 * unit, 224 * unit)
    middle = 128 * unit
    green = 1 - red - blue
    from_red, from_blue = 2 * (1 - red), 2 * (1 - blue)
    rows = np.array(
        [
            [1, 0, from_red],
            [1, -from_blue * blue / green, -from_red * red / green],
            [1, from_blue, 0],
        ]
    )
    scaled = rows * (255 / np.array([luma, chroma, chroma]))
    zero = np.array([black, middle, middle])
    return Meaning(scaled, -scaled @ zero, full, is_rgb=False)


def matrix_of(frame: Any) -> int:
    """The number of a frame's matrix in ITU-T H.273, or what is meant where it names none."""
    return _known(frame.colorspace, frame.height)


def _known(matrix: int, height: int) -> int:
    return matrix if matrix in _WEIGHTS else 1 if height >= _HIGH_DEFINITION else 5


def seen_by_network(planes: Planes, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """RGB at the network's size."""
    small = [shrink(_rows_whole(plane), size) for plane in planes.color]
    return to_rgb(small, planes.meaning)


def _rows_whole(plane: np.ndarray) -> np.ndarray:
    """The plane without gaps between the numbers of a row, as OpenCV takes it."""
    return plane if plane.strides[1] == plane.itemsize else np.ascontiguousarray(plane)


def to_rgb(planes: list[np.ndarray], meaning: Meaning) -> UInt8[np.ndarray, "height width 3"]:
    """RGB of planes of one size; Y alone is grey."""
    matrix, offset = meaning.matrix.astype(np.float32), meaning.offset.astype(np.float32)
    if len(planes) == 1:
        neutral = np.full_like(planes[0], (meaning.full + 1) // 2)
        planes = [planes[0], neutral, neutral]
    stored = [plane.astype(np.float32) for plane in planes]
    channels = [sum(matrix[k, j] * stored[j] for j in range(3)) + offset[k] for k in range(3)]
    return np.rint(np.clip(np.stack(channels, -1), 0, 255)).astype(np.uint8)


def rgb_of(planes: Planes) -> np.ndarray:
    """The whole frame as RGB [height, width, 3]: uint8, or uint16 if it has more bits."""
    height, width = planes.color[0].shape
    meaning, depth = planes.meaning, planes.meaning.full.bit_length()
    result = np.empty((height, width, 3), np.uint8 if depth == 8 else np.uint16)
    scale = np.float32(np.iinfo(result.dtype).max / 255)
    matrix = meaning.matrix.astype(np.float32) * scale
    offset = meaning.offset.astype(np.float32) * scale
    color = [plane.astype(np.float32) for plane in planes.color]
    if len(color) == 1:
        color += [np.full_like(color[0], (meaning.full + 1) // 2)] * 2
    color = [
        plane if plane.shape == (height, width) else enlarged(plane, height, width)
        for plane in color
    ]
    for k in range(3):
        channel = sum(matrix[k, j] * color[j] for j in range(3)) + offset[k]
        result[:, :, k] = np.rint(np.clip(channel, 0, np.iinfo(result.dtype).max))
    return result


def enlarged(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """Chroma at luma's size, of which it covers the whole, or a row or column more."""
    tall, wide = covered((height, width), plane.shape)
    size = (plane.shape[1] * wide, plane.shape[0] * tall)
    return cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR)[:height, :width]


def covered(luma: tuple[int, ...], chroma: tuple[int, ...]) -> tuple[int, int]:
    """How many of luma's rows and columns one of chroma covers, by their heights and widths."""
    tall, wide = (
        next(factor for factor in (1, 2, 4) if -(-big // factor) == small)
        for big, small in zip(luma, chroma, strict=True)
    )
    return tall, wide


def alpha_of(planes: Planes) -> PixelMask | None:
    """Opacity as a mask, or None."""
    if planes.alpha is None:
        return None
    return to_mask(planes.alpha, planes.alpha_full)


def brightness_of(planes: Planes) -> PixelMask:
    """Luma, from black to white."""
    first, meaning = planes.color[0], planes.meaning
    if not meaning.is_rgb:
        scale, middle = meaning.matrix[0, 0], (meaning.full + 1) // 2
        offset = float(meaning.offset[0] + meaning.matrix[0, 2] * middle)
        if meaning.full == 255:
            levels = np.rint(np.clip(np.arange(256) * scale + offset, 0, 255)).astype(np.uint8)
            return cv2.LUT(first, levels)
        levels = first.astype(np.float32) * np.float32(scale) + np.float32(offset)
    else:
        weights = np.array([_BT601[0], 1 - sum(_BT601), _BT601[1]]) * meaning.matrix[0, 0]
        levels = np.zeros(first.shape, np.float32)
        for plane, weight in zip(planes.color, weights, strict=True):
            levels += plane * np.float32(weight)
    return np.rint(np.clip(levels, 0, 255)).astype(np.uint8)


def to_mask(values: np.ndarray, full: int) -> PixelMask:
    """Numbers from 0 to `full` as 0 to 255."""
    if full == 255:
        return np.ascontiguousarray(values)
    return np.rint(values.astype(np.float32) * np.float32(255 / full)).astype(np.uint8)


def _rgb_meaning(full: int) -> Meaning:
    return Meaning(np.eye(3) * (255 / full), np.zeros(3), full, is_rgb=True)


def _is_full(frame: Any) -> bool:
    if frame.color_range == 0:
        return frame.format.name.startswith("gray")
    return frame.color_range == _FULL


def _is_planar(format_: Any) -> bool:
    """Whether each component lies in a plane of its own, in numbers from 0 up."""
    components = format_.components
    planes = {component.plane for component in components}
    return (
        not format_.is_big_endian
        and not format_.has_palette
        and not format_.is_bit_stream
        and not format_.is_bayer
        and len(planes) == len(components)
        and len({component.bits for component in components}) == 1
        and 8 <= components[0].bits <= 16
        and "msb" not in format_.name
        and not any(part in format_.name for part in ("f16", "f32", "xyz"))
    )


def _plane(frame: Any, component: Any) -> np.ndarray:
    plane = frame.planes[component.plane]
    kind = np.dtype(np.uint8 if component.bits == 8 else "<u2")
    rows = np.frombuffer(plane, kind).reshape(-1, plane.line_size // kind.itemsize)
    return rows[: component.height, : component.width]


def _packed(frame: Any, name: str) -> np.ndarray:
    plane, size = frame.planes[0], _BYTES_A_PIXEL.get(name, 4)
    kind = np.dtype("<u2" if "48" in name or "64" in name else np.uint8)
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    pixels = rows[: frame.height, : frame.width * size].view(kind)
    return pixels.reshape(frame.height, frame.width, size // kind.itemsize)
