"""Training batches decoded and augmented by worker processes, step after step."""

from collections.abc import Iterator

import jax
import numpy as np
from jax.sharding import Mesh

from harmony_jax.data.batching import (
    PIXELS,
    Augmentation,
    BatchOrder,
    DeviceBatch,
    Reading,
    Share,
)
from harmony_jax.data.pipeline import close_batches, training_batches
from harmony_jax.data.sources import Numbered
from harmony_jax.devices import mesh as meshes


class StreamedBatches:
    """Endless augmented batches, put on the devices as they come; see `training_batches`.

    Args:
        source: samples to train on.
        augmentation: of them.
        order: of the batches.
        mesh: batches are sharded over it.
        reading: `num_workers`.

    Raises:
        InputError: fewer samples than one batch.
    """

    def __init__(
        self,
        source: Numbered,
        augmentation: Augmentation,
        order: BatchOrder,
        mesh: Mesh,
        reading: Reading,
    ):
        self._mesh = mesh
        share = Share(jax.process_index(), jax.process_count())
        self._batches = training_batches(source, augmentation, order, reading.num_workers, share)

    def __iter__(self) -> Iterator[DeviceBatch]:
        return self

    def __next__(self) -> DeviceBatch:
        batch = next(self._batches)
        pixels = {key: batch[key] for key in PIXELS}
        unreadable = set(batch["unreadable"].tolist()) - {-1}
        return DeviceBatch(meshes.to_devices(pixels, self._mesh), unreadable)

    def close(self) -> None:
        """Ends the workers; no batch may be in use."""
        close_batches(self._batches)

    @classmethod
    def first_rows(
        cls,
        source: Numbered,
        augmentation: Augmentation,
        order: BatchOrder,
        mesh: Mesh,
        reading: Reading,
    ) -> dict[str, np.ndarray]:
        """This process's rows of the first batch alone, on the host, with their `index`."""
        made = cls(source, augmentation, order, mesh, reading)
        batch = next(made._batches)
        # Copied: the workers' memory goes with them.
        rows = {key: np.array(batch[key]) for key in (*PIXELS, "index")}
        del batch
        made.close()
        return rows
