"""The order of samples when every row of the batch draws from a list of its own."""

import numpy as np
from jaxtyping import Int


class Lanes:
    """Deals a set's samples out to the rows of the batch, and orders them anew in every pass.

    Row j of every batch draws from lane j, so that a device needs the samples of its own rows
    alone, and batches are the same on any number of devices. A lane visits each of its samples
    once a pass. Where the batch size does not divide the number of samples, the last lanes have
    one sample less than the others, and begin each pass one step earlier.

    Args:
        count: of samples; at least one a row.
        batch_size: rows over all devices.
        seed: of the dealing and of the orders.

    Attributes:
        samples: the numbers of each lane's samples, by slot.
        slots: length of the longest lane.
    """

    def __init__(self, count: int, batch_size: int, seed: int):
        dealt = np.random.default_rng([seed, 0]).permutation(count)
        self.samples = [dealt[row::batch_size] for row in range(batch_size)]
        self.slots = len(self.samples[0])
        longer = count % batch_size
        # Lanes of one length begin and end their passes together.
        self._groups = [
            _Passes(seed, range(longer), self.slots),
            _Passes(seed, range(longer, batch_size), count // batch_size),
        ]

    def slots_at(self, step: int) -> Int[np.ndarray, " batch"]:
        """The slot that each row takes after `step` steps."""
        return np.concatenate([group.slots_at(step) for group in self._groups])


class _Passes:
    """The orders of some lanes of one length; those of the current pass are kept."""

    def __init__(self, seed: int, rows: range, length: int):
        self._seed, self._rows, self._length = seed, rows, length
        self._pass = -1

    def slots_at(self, step: int) -> np.ndarray:
        number, place = divmod(step, self._length)
        if number != self._pass:
            self._pass = number
            self._orders = np.zeros((len(self._rows), self._length), np.int32)
            for order, row in zip(self._orders, self._rows, strict=True):
                rng = np.random.default_rng([self._seed, 1, row, number])
                order[:] = rng.permutation(self._length)
        return self._orders[:, place]
