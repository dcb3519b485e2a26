"""Clips made with PyAV, frames of any pixel format, and a harmonizer without a network."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import av
import numpy as np

from harmony_jax.photos.harmonizer import Harmonizer
from harmony_jax.photos.recolor import Recolor

WIDTH, HEIGHT = 96, 64
SIZE = 16  # of the network

BRIGHTER = np.zeros(12, np.float32)  # a transform: adds to red, green and blue
BRIGHTER[3::4] = 40, 20, -30


class Painted(Harmonizer):
    """A harmonizer whose network answers with the same transform, or one for each frame seen."""

    def __init__(self, answer: Callable[[np.ndarray], np.ndarray] | None = None):
        self._model = SimpleNamespace(check_image_size=lambda height, width: None)
        self._image_size = SIZE
        self._recolor = Recolor()
        self._answer = answer or (lambda seen: BRIGHTER)
        self.seen: list[np.ndarray] = []

    def _fit_all(self, seen: np.ndarray, masks: np.ndarray) -> np.ndarray:
        self.seen += list(seen)
        answers = [np.float32(self._answer(frame)) for frame in seen]
        return np.stack([np.ones((12, SIZE, SIZE), np.float32) * a[:, None, None] for a in answers])


class Kind(NamedTuple):
    """How a clip is written."""

    codec: str = "ffv1"
    format: str = "yuv420p"
    options: dict[str, str] = {}  # noqa: RUF012
    rotation: int | None = None
    interlaced: bool = False
    colors: tuple[int, int, int, int] = (2, 2, 2, 0)  # matrix, primaries, transfer, range
    aspect: Fraction | None = None
    metadata: dict[str, str] = {}  # noqa: RUF012


PLAIN = Kind()


def frame_of(planes: Sequence[np.ndarray], format_: str) -> Any:
    """A frame with these planes, each as the format has it."""
    height, width = planes[0].shape[:2]
    frame = av.VideoFrame(width, height, format_)
    for plane, values in zip(frame.planes, planes, strict=True):
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        data = np.ascontiguousarray(values).view(np.uint8).reshape(values.shape[0], -1)
        rows[: len(data), : data.shape[1]] = data
    return frame


def planes_in(frame: Any) -> list[np.ndarray]:
    """Copies of the planes of a planar frame."""
    found = {}
    for component in frame.format.components:
        plane = frame.planes[component.plane]
        kind = np.dtype("<u2" if component.bits > 8 else np.uint8)
        rows = np.frombuffer(plane, kind).reshape(-1, plane.line_size // kind.itemsize)
        found[component.plane] = rows[: component.height, : component.width].copy()
    return [found[number] for number in sorted(found)]


def rgb_in(frame: Any) -> np.ndarray:
    """A frame of BT.709 as RGB, by FFmpeg's conversion."""
    colors = {"src_colorspace": "ITU709", "dst_color_range": "JPEG"}
    return frame.reformat(format="gbrp", threads=1, **colors).to_ndarray().astype(int)


def random_planes(
    format_: str, rng: np.random.Generator, size: tuple[int, int] = (HEIGHT, WIDTH)
) -> list[np.ndarray]:
    """Random planes of a planar format."""
    planes = planes_in(av.VideoFrame(size[1], size[0], format_))
    full = (1 << av.VideoFormat(format_).components[0].bits) - 1
    return [rng.integers(full // 4, full * 3 // 4, p.shape).astype(p.dtype) for p in planes]


def write_clip(
    path: Path,
    frames: Sequence[Any],
    kind: Kind = PLAIN,
    times: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 25),
    more: Callable[[Any], Callable[[], None]] | None = None,
) -> Path:
    """Writes frames; `more` adds streams, and gives what writes their packets."""
    with av.open(str(path), "w") as container:
        container.metadata.update(kind.metadata)
        stream = container.add_stream(kind.codec, rate=25)
        context = stream.codec_context
        context.width, context.height = frames[0].width, frames[0].height
        context.pix_fmt, context.time_base = kind.format, time_base
        context.options = dict(kind.options)
        context.colorspace, context.color_primaries = kind.colors[:2]
        context.color_trc, context.color_range = kind.colors[2:]
        if kind.rotation is not None:
            stream.set_display_rotation(kind.rotation)
        if kind.aspect is not None:
            context.sample_aspect_ratio = kind.aspect
        if kind.interlaced:
            flags = av.codec.context.Flags
            context.flags |= int(flags.interlaced_dct) | int(flags.interlaced_me)
        finish = more(container) if more else lambda: None
        for number, frame in enumerate(frames):
            frame.pts = number if times is None else times[number]
            frame.time_base = time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        finish()
    return path


def decoded(path: Path, decoder: str | None = None) -> list[Any]:
    """All frames of a clip."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        if decoder is None:
            return list(container.decode(stream))
        context = av.CodecContext.create(decoder, "r")
        context.extradata = stream.codec_context.extradata
        frames = [f for p in container.demux(stream) if p.size for f in context.decode(p)]
        return frames + context.decode(None)


def circle(number: int = 0, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    """A mask with soft edges, which moves."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    distance = np.hypot(rows - size[0] / 2, columns - size[1] / 3 - 2 * number)
    return np.rint(np.clip((size[0] / 4 - distance) / 3 + 0.5, 0, 1) * 255).astype(np.uint8)


def touched(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Which numbers of a plane, perhaps of subsampled chroma, cover a pixel of the mask."""
    tall, wide = (-(-big // small) for big, small in zip(mask.shape, shape, strict=True))
    whole = np.zeros((shape[0] * tall, shape[1] * wide), bool)
    whole[: mask.shape[0], : mask.shape[1]] = mask > 0
    return whole.reshape(shape[0], tall, shape[1], wide).any((1, 3))


def mask_clip(path: Path, masks: Sequence[np.ndarray], codec: str = "ffv1") -> Path:
    """A clip of masks, in full range."""
    frames = [frame_of([mask], "gray") for mask in masks]
    return write_clip(path, frames, Kind(codec, "gray", colors=(2, 2, 2, 2)))
