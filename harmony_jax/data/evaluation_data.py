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

from harmony_jax.data.pipeline import Batch, Batches
from harmony_jax.data.predictions import Predictions
from harmony_jax.data.resizing import resize
from harmony_jax.data.sources import Source
from harmony_jax.devices.host_cores import usable_cores
from harmony_jax.errors import InputError

PIXELS = ("composite", "real", "mask", "prediction")

# A pass over fewer samples ends before worker processes have started.
_MIN_SAMPLES_FOR_WORKERS = 256


class Sizing(NamedTuple):
    """The size, in pixels, that pictures are evaluated at.

    With `square` it is image_size both ways, as published; with `longest` pictures are shrunk whose
    longest side is above longest_side; with `none` they stay as they are.
    """

    resize: Literal["square", "longest", "none"]
    image_size: int
    longest_side: int
    # Unless `square`, pictures are padded with black to multiples of it for the network, evenly on
    # both sides as in the released prediction.
    divisor: int

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width at which a picture of this height and width is evaluated."""
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
    """What the config's `evaluation` section asks for."""
    evaluation = config.evaluation
    image_size = evaluation.image_size or config.data.image_size
    return Sizing(evaluation.resize, image_size, evaluation.longest_side, divisor)


class EvaluationData:
    """Batches of a source's samples, each sample once, on any number of processes.

    A batch has `composite`, `real` [batch, height, width, 3], `mask` [batch, height, width] and,
    with `predictions`, `prediction` [batch, height, width, 3], uint8; and `readable` [batch], False
    where a sample could not be read. All batches are of one size if that is square; else batches of
    one size follow one another, and `extent` [batch, 4] is the top, left, height and width of each
    picture in its padding.

    Args:
        source, sizing: the samples and their size.
        batch_size: samples over all processes.
        num_workers: as in `Batches`.
        predictions: of another program, to read along.
        process: index and count of this JAX process.

    Attributes:
        batches: of this process; close them.
        left_out: indices of samples whose size could not be read.
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
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        self.left_out: set[int] = set()
        if sizing.resize == "square":
            groups[sizing.size(0, 0)] = list(range(len(source)))
        else:
            for index, (height, width) in enumerate(_sizes(source).tolist()):
                if height:
                    groups[sizing.canvas(*sizing.size(height, width))].append(index)
                else:
                    self.left_out.add(index)
        rows = []  # index and padded size, filled up with -1 to whole batches of one size
        for canvas, indices in sorted(groups.items()):
            indices += [-1] * (-len(indices) % batch_size)
            rows += [(index, canvas) for index in indices]
        self._indices = np.array([index for index, _ in rows]).reshape(-1, batch_size)
        number, count = process
        own = np.arange(len(rows)).reshape(-1, count, batch_size // count)[:, number].ravel()
        own_rows = [rows[row] for row in own.tolist()]
        self._rows = _Rows(source, sizing, predictions, own_rows)
        workers = num_workers if len(source) >= _MIN_SAMPLES_FOR_WORKERS else 0
        dataset = grain.MapDataset.source(self._rows).batch(batch_size // count)
        largest = max(height * width for height, width in groups) if groups else 0
        channels = 10 if predictions else 7
        self.batches = Batches(dataset, workers, max(1, largest * channels * batch_size // count))

    def indices(self, number: int) -> list[int]:
        """The samples of a batch, over all processes; -1 in rows that only fill it up."""
        return self._indices[number].tolist()

    def reason(self, index: int) -> str:
        """Why a sample could not be read."""
        try:
            self._rows.read(index)
        except InputError as error:
            return str(error)
        return "could not be read when its turn came"


class _Rows:
    """The rows of this process's batches, ready to be stacked."""

    def __init__(
        self,
        source: Source,
        sizing: Sizing,
        predictions: Predictions | None,
        rows: list[tuple[int, tuple[int, int]]],
    ):
        self._source, self._sizing, self._rows = source, sizing, rows
        self._predictions = predictions

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> Batch:
        index, canvas = self._rows[row]
        try:
            pictures = self.read(index) if index >= 0 else {}
        except InputError:
            pictures = {}
        found = bool(pictures)
        if not found:
            names = PIXELS if self._predictions else PIXELS[:3]
            shapes = {name: (1, 1) if name == "mask" else (1, 1, 3) for name in names}
            pictures = {name: np.zeros(shape, np.uint8) for name, shape in shapes.items()}
        height, width = pictures["mask"].shape
        top, left = (canvas[0] - height) // 2, (canvas[1] - width) // 2
        padding = (top, canvas[0] - height - top, left, canvas[1] - width - left)
        element: Batch = {
            name: cv2.copyMakeBorder(picture, *padding, cv2.BORDER_CONSTANT, value=0)
            for name, picture in pictures.items()
        }
        if self._sizing.resize != "square":
            element["extent"] = np.array([top, left, height, width], np.int32)
        return {**element, "readable": np.array(found)}

    def read(self, index: int) -> Batch:
        """One sample's pictures, at the evaluated size."""
        sample = self._source[index]
        height, width = sample["mask"].shape
        size = self._sizing.size(height, width)
        pictures: dict[str, Any] = {**sample}
        if self._predictions:
            pictures["prediction"] = self._predictions.read(index, {(height, width), size})
        return {name: resize(pictures[name], *size) for name in PIXELS if name in pictures}


def _sizes(source: Source) -> np.ndarray:
    """Height and width of every sample, [samples, 2]; 0 if it cannot be read.

    Each of several processes opens its part of them and takes the others' sizes from them: if a
    photo were unreadable for one process alone, the processes would make different batches.
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
    if count > 1:  # [processes, rows, 2]; sample i is in row i // processes
        sizes = multihost_utils.process_allgather(sizes).swapaxes(0, 1).reshape(-1, 2)
    return sizes[: len(source)]
