"""Batches to evaluate: every sample once, at the size the metrics are taken at."""

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple

import cv2
import grain
import jax
import numpy as np
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from harmony_jax.data.pipeline import Batches, iterate
from harmony_jax.data.predictions import Predictions
from harmony_jax.data.resizing import resize
from harmony_jax.data.sources import Sample, Source
from harmony_jax.devices.host_cores import usable_cores
from harmony_jax.errors import InputError

PIXELS = ("composite", "real", "mask", "prediction")

# A pass over fewer samples than this is over before worker processes have started.
_MIN_SAMPLES_FOR_WORKERS = 256


class Sizing(NamedTuple):
    """The size that pictures are evaluated at.

    Attributes:
        resize: `square`: to image_size both ways, the benchmark's way; `longest`: shrunk if the
            longest side is above longest_side; `none`: as they are.
        image_size, longest_side: in pixels.
        divisor: without `square`, pictures are padded with black to multiples of it for the
            network, evenly on both sides as in the released prediction.
    """

    resize: Literal["square", "longest", "none"]
    image_size: int
    longest_side: int
    divisor: int

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that a picture of the given ones is evaluated at."""
        if self.resize == "square":
            return self.image_size, self.image_size
        scale = self.longest_side / max(height, width)
        if self.resize == "none" or scale >= 1:
            return height, width
        return round(height * scale), round(width * scale)

    def canvas(self, height: int, width: int) -> tuple[int, int]:
        """Height and width with the padding."""
        if self.resize == "square":
            return height, width
        return -(-height // self.divisor) * self.divisor, -(-width // self.divisor) * self.divisor


def sizing_of(config: ConfigDict, divisor: int) -> Sizing:
    """What the config's `evaluation` section asks for.

    Raises:
        InputError: an unknown `evaluation.resize`, or a side that is not positive.
    """
    evaluation = config.evaluation
    if evaluation.resize not in ("square", "longest", "none"):
        raise InputError(
            f"evaluation.resize {evaluation.resize!r}: choose 'square', 'longest' or 'none'"
        )
    image_size = evaluation.image_size or config.data.image_size
    for field, side in (("image_size", image_size), ("longest_side", evaluation.longest_side)):
        if side < 1:
            raise InputError(f"evaluation.{field} {side}: must be at least 1 pixel")
    return Sizing(evaluation.resize, image_size, evaluation.longest_side, divisor)


class EvaluationData:
    """Batches of a source's samples, each sample once, on any number of processes.

    A batch has `composite`, `real` [batch, height, width, 3], `mask` [batch, height, width] and,
    with `predictions`, `prediction` [batch, height, width, 3], uint8. All batches are of one size
    if that is square; else batches of one size follow one another, and `extent` [batch, 4] is the
    top, left, height and width of each picture in its padding.

    Args:
        source: the samples.
        sizing: their size.
        batch_size: samples over all processes.
        num_workers: decoding processes, as in `pipeline.training_batches`.
        predictions: of another program, to read along.
        process: index and count of this JAX process.

    Attributes:
        left_out: indices of samples that could not be read, known when all batches were seen.
    """

    def __init__(
        self,
        source: Source,
        sizing: Sizing,
        batch_size: int,
        num_workers: int,
        predictions: Predictions | None = None,
        process: tuple[int, int] = (0, 1),
    ):
        self.left_out: set[int] = set()
        self._source, self._sizing, self._predictions = source, sizing, predictions
        rows = self._rows(source, sizing, batch_size)
        self._indices = np.array([index for index, _ in rows]).reshape(-1, batch_size)
        number, count = process
        own = np.arange(len(rows)).reshape(-1, count, batch_size // count)[:, number].ravel()
        dataset = grain.MapDataset.source(
            _Rows(source, sizing, [rows[row] for row in own.tolist()], predictions)
        ).batch(batch_size // count)
        workers = num_workers if len(source) >= _MIN_SAMPLES_FOR_WORKERS else 0
        self.batches: Batches = iterate(dataset, workers)

    def indices(self, number: int) -> list[int]:
        """The samples of a batch, over all processes; -1 in rows that only fill it up."""
        return self._indices[number].tolist()

    def reason(self, index: int) -> str:
        """Why a sample was left out."""
        try:
            _read(self._source, index, self._predictions, self._sizing)
        except InputError as error:
            return str(error)
        return "could not be read when its turn came"

    def _rows(
        self, source: Source, sizing: Sizing, batch_size: int
    ) -> list[tuple[int, tuple[int, int]]]:
        """Index and padded size of each row, filled up to whole batches of one size."""
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        if sizing.resize == "square":
            groups[sizing.size(0, 0)] = list(range(len(source)))
        else:
            for index, (height, width) in enumerate(_sizes(source).tolist()):
                if height:
                    groups[sizing.canvas(*sizing.size(height, width))].append(index)
                else:
                    self.left_out.add(index)
        rows = []
        for canvas in sorted(groups):
            indices = groups[canvas]
            indices += [-1] * (-len(indices) % batch_size)
            rows += [(index, canvas) for index in indices]
        return rows


class _Rows:
    """The rows of this process's batches, ready to be stacked."""

    def __init__(
        self,
        source: Source,
        sizing: Sizing,
        rows: list[tuple[int, tuple[int, int]]],
        predictions: Predictions | None,
    ):
        self._source, self._sizing, self._rows = source, sizing, rows
        self._predictions = predictions

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> dict[str, Any]:
        index, canvas = self._rows[row]
        found, pixels = index, {}
        if index >= 0:
            try:
                pixels = _read(self._source, index, self._predictions, self._sizing)
            except InputError:
                found = -1
        if not pixels:  # a row without a picture
            names = PIXELS if self._predictions else PIXELS[:3]
            shapes = {"mask": (1, 1)}
            pixels = {n: np.zeros(shapes.get(n, (1, 1, 3)), np.uint8) for n in names}
        height, width = pixels["mask"].shape
        top, left = (canvas[0] - height) // 2, (canvas[1] - width) // 2
        padding = (top, canvas[0] - height - top, left, canvas[1] - width - left)
        element: dict[str, Any] = {
            name: cv2.copyMakeBorder(picture, *padding, cv2.BORDER_CONSTANT, value=0)
            if any(padding)
            else picture
            for name, picture in pixels.items()
        }
        if self._sizing.resize != "square":
            element["extent"] = np.array([top, left, height, width], np.int32)
        return {**element, "readable": np.bool_(found == index)}


def _read(
    source: Source, index: int, predictions: Predictions | None, sizing: Sizing
) -> dict[str, np.ndarray]:
    """One sample's pictures, at the evaluated size."""
    sample: Sample = source[index]
    pictures = {name: sample[name] for name in PIXELS[:3]}  # type: ignore[literal-required]
    height, width = sample["mask"].shape
    size = sizing.size(height, width)
    resized = {name: _resize(picture, *size) for name, picture in pictures.items()}
    if predictions:
        resized["prediction"] = _resize(predictions.read(index, {(height, width), size}), *size)
    return resized


def _resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    if pixels.shape[:2] == (height, width):
        return pixels
    if height == width:
        return resize(pixels, height)
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)


def _sizes(source: Source) -> np.ndarray:
    """Height and width of every sample, [samples, 2]; 0 if it cannot be read.

    Each of several processes opens its part of them and takes the others' word for the rest: were
    a photo unreadable for one alone, the processes would make different batches.
    """
    number, count = jax.process_index(), jax.process_count()
    own = range(number, len(source), count)

    def size(index: int) -> tuple[int, int]:
        try:
            height, width = source[index]["mask"].shape
        except InputError:
            return 0, 0
        return height, width

    sizes = np.zeros((-(-len(source) // count), 2), np.int32)  # as many rows in each process
    with ThreadPoolExecutor(usable_cores()) as threads:
        for row, found in enumerate(threads.map(size, own)):
            sizes[row] = found
    if count > 1:  # [processes, rows, 2], of which sample i is in row i // processes
        sizes = multihost_utils.process_allgather(sizes).swapaxes(0, 1).reshape(-1, 2)
    return sizes[: len(source)]
