"""Averages a clip's colour transforms over time, because answers to similar frames flicker.

The answer for a frame is averaged with those of its neighbours. They count less with distance in
time and in colour, and not at all beyond a change of scene. A transform belongs to the foreground,
so those of other frames are first moved along with it. Frames that the network has not seen get
their transform in the same way.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from harmony_jax.errors import InputError
from harmony_jax.photos.masks import FOREGROUND

SMOOTHING = 4.0  # frames; docs/performance.md compares others

_REACH = 2.5  # how far the averaging reaches, in standard deviations
_BETWEEN = 0.75  # least smoothing, as a share of the distance between frames that are seen
_ALIKE = 10.0  # standard deviation of the weight over differences in colour, of 255
_BATCH = 8  # frames that the network sees at once

_BLUR = 4.0  # pixels of the grid: how far beyond its mask a frame's answer is trusted
_LEAST_TRUST = 1e-4
_MARGIN = 2  # pixels of the grid around the averaged part that interpolation reads

# A change of scene: pixels differ by so many levels and the histogram by this share of the pixels,
# or pixels differ by very many levels.
_CUT_LEVELS, _CUT_SHARE, _CUT_AT_ONCE = 10.0, 0.3, 45.0
_THUMBNAIL = 16  # pixels a side
_BINS = 8


class Steadiness(NamedTuple):
    """How transforms are averaged over time.

    Attributes:
        smoothing: standard deviation in frames; 0 takes each frame's own answer.
        every: the network sees one frame in so many.
    """

    smoothing: float = SMOOTHING
    every: int = 1


class Small(NamedTuple):
    """What the network sees of a frame.

    Attributes:
        seen: RGB.
        mask: of its size, 255 on the foreground.
        reach: the bounding box of the mask, in shares of the frame's sides: top, left, bottom,
            right; None without foreground.
    """

    seen: UInt8[np.ndarray, "size size 3"]
    mask: UInt8[np.ndarray, "size size"]
    reach: tuple[float, float, float, float] | None


@runtime_checkable
class Frame(Protocol):
    """A frame of a clip and its mask."""

    def small(self, size: int) -> Small:
        """What a network of `size` pixels a side sees of it."""
        ...


Transform = Float32[np.ndarray, "12 size size"]  # as `Coefficients`, on the host

AnyFrame = TypeVar("AnyFrame", bound=Frame)

Fit = Callable[
    [UInt8[np.ndarray, "n size size 3"], UInt8[np.ndarray, "n size size"]],
    Float32[np.ndarray, "n 12 size size"],
]


def check_steadiness(steadiness: Steadiness) -> None:
    """Raises InputError for invalid numbers."""
    if not 0 <= steadiness.smoothing <= 100:
        raise InputError(f"smoothing {steadiness.smoothing!r}: expected 0 to 100 frames")
    if not 1 <= steadiness.every <= 100:
        raise InputError(f"every {steadiness.every!r}: expected 1 to 100 frames")


def reach_of(mask: UInt8[np.ndarray, "height width"]) -> tuple[float, float, float, float] | None:
    """The bounding box of a mask, as in `Small`."""
    left, top, width, height = cv2.boundingRect(mask)
    if not width:
        return None
    rows, columns = mask.shape
    return top / rows, left / columns, (top + height) / rows, (left + width) / columns


def steady_transforms(
    frames: Iterable[AnyFrame], size: int, fit: Fit, steadiness: Steadiness
) -> Iterator[tuple[AnyFrame, Transform | None]]:
    """The colour transform of every frame of a clip.

    Only the frames around the current one are in memory.

    Args:
        frames: in order of time.
        size: of the network, in pixels a side.
        fit: computes the transforms of several frames, as `fit_color_transform` does.
        steadiness: how they are averaged.

    Yields:
        Each frame with its transform, which is valid where the frame's mask is; None if the frame
        has no foreground, or the network saw none in it and its neighbours.
    """
    window: _Window[AnyFrame] = _Window(size, fit, steadiness)
    for frame in frames:
        window.add(frame)
        yield from window.ready(at_end=False)
    yield from window.ready(at_end=True)


class _Colors(NamedTuple):
    """A frame's colours, to compare it with others."""

    statistics: np.ndarray  # means and deviations of foreground and background
    thumbnail: np.ndarray
    histogram: np.ndarray  # shares of the pixels


class _Entry(Generic[AnyFrame]):
    """A frame in the window."""

    def __init__(self, frame: AnyFrame | None, number: int, scene: int, small: Small):
        self.frame, self.number, self.scene = frame, number, scene
        self.reach = small.reach
        weight = np.square(small.mask.astype(np.float32) / 255)
        self.colors = _colors_of(small, weight)
        self.center = _center(weight)
        self.pending: Small | None = None  # what the network has still to see
        self.trust: np.ndarray | None = None  # in its answer, for each pixel
        self.coefficients: np.ndarray | None = None


class _Window(Generic[AnyFrame]):
    """The frames around the current one."""

    def __init__(self, size: int, fit: Fit, steadiness: Steadiness):
        self._size, self._fit = size, fit
        self._every = steadiness.every
        self._sigma = steadiness.smoothing
        if steadiness.every > 1:
            self._sigma = max(self._sigma, _BETWEEN * steadiness.every)
        self._radius = math.ceil(_REACH * self._sigma)
        self._batch = max(1, _BATCH // steadiness.every)
        self._entries: deque[_Entry[AnyFrame]] = deque()
        self._next = 0  # the number of the frame that is yielded next
        self._count = self._scene = 0
        self._last_answer: int | None = None  # the number of the last frame for the network
        self._unseen = 0

    def add(self, frame: AnyFrame) -> None:
        small = frame.small(self._size)
        entry = _Entry(frame, self._count, self._scene, small)
        if self._entries and _is_cut(self._entries[-1].colors, entry.colors):
            self._scene += 1
            entry.scene = self._scene
            self._last_answer = None
        visible = small.mask.max() > FOREGROUND >= small.mask.min()
        due = self._last_answer is None or entry.number - self._last_answer >= self._every
        if visible and due:
            entry.pending = small
            self._last_answer = entry.number
            self._unseen += 1
        self._entries.append(entry)
        self._count += 1
        # Where foreground is rare, a batch might never be full.
        late = self._count - self._next > self._radius + self._batch * self._every
        if self._unseen == self._batch or (self._unseen and late):
            self._answer()

    def ready(self, at_end: bool) -> Iterator[tuple[AnyFrame, Transform | None]]:
        """Yields the frames whose neighbours are all there."""
        while self._next < self._count:
            neighbours = [
                entry for entry in self._entries if abs(entry.number - self._next) <= self._radius
            ]
            (current,) = (entry for entry in neighbours if entry.number == self._next)
            last = neighbours[-1]
            whole = (
                at_end or last.number - self._next == self._radius or last.scene != current.scene
            )
            if not whole:
                return
            alike = [entry for entry in neighbours if entry.scene == current.scene]
            if any(entry.pending is not None for entry in alike):
                if not at_end:
                    return  # until a batch is full
                self._answer()
            frame, current.frame = current.frame, None
            assert frame is not None
            yield frame, self._average(current, alike)
            self._next += 1
            while self._entries and self._entries[0].number < self._next - self._radius:
                # One stays for comparison with the next frame.
                if len(self._entries) == 1:
                    break
                self._entries.popleft()

    def _answer(self) -> None:
        """Shows the pending frames to the network, in batches of the size it is compiled for."""
        waiting = [(entry, entry.pending) for entry in self._entries if entry.pending is not None]
        smalls = [small for _, small in waiting]
        smalls += smalls[-1:] * (self._batch - len(smalls))
        found = self._fit(
            np.stack([small.seen for small in smalls]), np.stack([small.mask for small in smalls])
        )
        for (entry, small), coefficients in zip(waiting, found, strict=False):
            weight = np.square(small.mask.astype(np.float32) / 255)
            entry.trust = cv2.GaussianBlur(weight, (0, 0), _BLUR) + _LEAST_TRUST
            entry.coefficients = np.asarray(coefficients)
            entry.pending = None
        self._unseen = 0

    def _average(
        self, current: _Entry[AnyFrame], others: list[_Entry[AnyFrame]]
    ) -> Transform | None:
        if current.reach is None:
            return None
        if self._sigma == 0:
            return current.coefficients
        answered = [
            (entry, entry.coefficients, entry.trust, self._weight(current, entry))
            for entry in others
            if entry.coefficients is not None and entry.trust is not None
        ]
        if not answered:
            return None
        largest = max(weight for *_, weight in answered)
        rows, columns = self._part(current.reach)
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        total, weights = np.zeros((12, *shape), np.float32), np.zeros(shape, np.float32)
        for entry, coefficients, trust, weight in answered:
            if weight < 1e-3 * largest:
                continue
            moved_rows, moved_columns = (
                _moved(side, round(float(by)), self._size)
                for side, by in zip((rows, columns), entry.center - current.center, strict=True)
            )
            share = trust[moved_rows][:, moved_columns] * np.float32(weight / largest)
            total += coefficients[:, moved_rows][:, :, moved_columns] * share
            weights += share
        result = np.zeros((12, self._size, self._size), np.float32)
        result[:, rows, columns] = total / weights
        return result

    def _weight(self, current: _Entry[AnyFrame], other: _Entry[AnyFrame]) -> float:
        time = (other.number - current.number) / self._sigma
        apart = np.square(other.colors.statistics - current.colors.statistics).mean()
        return math.exp(-0.5 * (time * time + float(apart) / _ALIKE**2))

    def _part(self, reach: tuple[float, float, float, float]) -> tuple[slice, slice]:
        top, left, bottom, right = (share * self._size for share in reach)
        rows, columns = (
            slice(max(0, math.floor(start) - _MARGIN), min(self._size, math.ceil(end) + _MARGIN))
            for start, end in ((top, bottom), (left, right))
        )
        return rows, columns


def _moved(side: slice, by: int, size: int) -> slice | np.ndarray:
    """Rows or columns of another frame; beyond its border, the outermost ones."""
    if side.start >= -by and side.stop + by <= size:
        return slice(side.start + by, side.stop + by)
    return np.clip(np.arange(side.start + by, side.stop + by), 0, size - 1)


def _center(weight: np.ndarray) -> np.ndarray:
    """Row and column of the foreground's centre."""
    total = weight.sum()
    if not total:
        return np.zeros(2)
    places = np.arange(len(weight))
    return np.array([weight.sum(1) @ places, weight.sum(0) @ places]) / total


def _colors_of(small: Small, weight: np.ndarray) -> _Colors:
    pixels = small.seen.astype(np.float32).reshape(-1, 3)
    statistics = []
    for weights in (weight.ravel(), 1 - weight.ravel()):
        total = max(float(weights.sum()), 1.0)
        mean = weights @ pixels / total
        variance = weights @ np.square(pixels) / total - np.square(mean)
        statistics += [mean, np.sqrt(np.maximum(variance, 0))]
    thumbnail = cv2.resize(
        small.seen, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA
    ).astype(np.float32)
    histogram = [
        cv2.calcHist([small.seen], [channel], None, [_BINS], [0, 256]).ravel()
        for channel in range(3)
    ]
    shares = np.stack(histogram) / (small.seen.shape[0] * small.seen.shape[1])
    return _Colors(np.concatenate(statistics), thumbnail, shares)


def _is_cut(before: _Colors, after: _Colors) -> bool:
    levels = float(np.abs(after.thumbnail - before.thumbnail).mean())
    share = float(np.abs(after.histogram - before.histogram).sum(1).mean()) / 2
    return levels > _CUT_AT_ONCE or (levels > _CUT_LEVELS and share > _CUT_SHARE)
