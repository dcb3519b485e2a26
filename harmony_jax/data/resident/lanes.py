"""The order of samples when every row of the batch draws from a list of its own."""

import numpy as np
from jaxtyping import Int


class Lanes:
    """Deals a set's samples out to the rows of the batch, and orders them anew in every pass.

    Row j of every batch draws from lane j, so that a device needs only the samples of its own rows,
    and batches are the same on any number of devices. A lane visits each of its samples once a
    pass. Where the batch size does not divide the number of samples, the last lanes have one sample
    less than the others, and begin each pass one step earlier.

    Attributes:
        samples: the numbers of each lane's samples, by slot.
    """

    def __init__(self, count: int, batch_size: int, seed: int):
        self._seed = seed
        dealt = np.random.default_rng([seed, 0]).permutation(count)
        self.samples = [dealt[row::batch_size] for row in range(batch_size)]
        # Lanes of one length begin and end their passes together.
        longer = count % batch_size
        self._groups = [range(longer), range(longer, batch_size)]
        self._orders: dict[range, tuple[int, np.ndarray]] = {}  # of the current passes

    def slots_at(self, step: int) -> Int[np.ndarray, " batch"]:
        """The slot that each row takes after `step` steps."""
        slots = np.zeros(len(self.samples), np.int32)
        for rows in filter(len, self._groups):
            number, place = divmod(step, len(self.samples[rows[0]]))
            if self._orders.get(rows, (-1,))[0] != number:
                self._orders[rows] = number, self._draw(rows, number)
            slots[rows] = self._orders[rows][1][:, place]
        return slots

    def _draw(self, rows: range, number: int) -> np.ndarray:
        """The orders of some lanes in a pass, [lanes, slots]."""
        length = len(self.samples[rows[0]])
        rngs = (np.random.default_rng([self._seed, 1, row, number]) for row in rows)
        return np.stack([rng.permutation(length) for rng in rngs])
