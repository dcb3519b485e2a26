"""What the composites of a step follow from, where the photos stay in memory."""

from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils

from harmony_jax.data.batching import BatchOrder
from harmony_jax.data.composites.parameters import DRAWS, Parameters, draw_batch
from harmony_jax.data.composites.recipe import Recipe
from harmony_jax.data.composites.statistics import Statistics
from harmony_jax.data.sources import Numbered

_RANDOM_STREAM = 2  # of the composites; lanes have 0 and 1


class Compositing:
    """Draws the parameters of this process's rows of a batch; step, seed and photos decide them.

    Args:
        recipe: of the composites.
        order: its batch size and seed.
        rows: of the batch, those of this process.
        photos: all that are trained on.
    """

    def __init__(self, recipe: Recipe, order: BatchOrder, rows: np.ndarray, photos: Numbered):
        self._recipe, self._order, self._rows = recipe, order, rows
        self.photos = photos

    def parameters(self, step: int, numbers: Sequence[int]) -> Parameters:
        """After `step` steps, of the photos of these numbers in the rows."""
        rng = np.random.default_rng([self._order.seed, _RANDOM_STREAM, step])
        uniform = rng.random((self._order.batch_size, DRAWS))[self._rows]
        return draw_batch(self._recipe, uniform, numbers, self.photos)


def share_statistics(photos: Numbered, own: Sequence[int]) -> None:
    """Gives every process the colours of the photos that each has decoded.

    Args:
        photos: all of them, on every process.
        own: numbers of those that this process has decoded.
    """
    if jax.process_count() == 1:
        return
    known = {index: photos.statistics(index) for index in own}
    shapes = [np.shape(value) for value in next(iter(known.values()))]
    sizes = [int(np.prod(shape)) for shape in shapes]
    table = np.zeros((len(photos), 1 + sum(sizes)), np.float32)  # the first says which are known
    for index, found in known.items():
        table[index] = np.concatenate([[1], *(np.ravel(value) for value in found)])
    for part in multihost_utils.process_allgather(table):
        for index in np.flatnonzero(part[:, 0]).tolist():
            values = np.split(part[index, 1:], np.cumsum(sizes)[:-1])
            pairs = zip(values, shapes, strict=True)
            photos.set_statistics(index, Statistics(*(v.reshape(shape) for v, shape in pairs)))
