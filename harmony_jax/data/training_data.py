"""The training set as a run sees it: batches on the devices from any step on."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from harmony_jax.data.batching import PIXELS, Augmentation, BatchOrder, Reading
from harmony_jax.data.composites.source import PhotosSource
from harmony_jax.data.feed import Feed
from harmony_jax.data.pipeline import check_number_of_samples
from harmony_jax.data.resident.batches import ResidentBatches
from harmony_jax.data.sources import Numbered, Source, sample_name
from harmony_jax.data.streamed import StreamedBatches
from harmony_jax.errors import InputError

_LOGGER = logging.getLogger(__name__)


class NamedBatch(NamedTuple):
    """One process's part of a batch, on the host, with its samples' names."""

    pixels: dict[str, np.ndarray]
    names: list[str]


class TrainingData:
    """Endless batches of a training set, made ready while the devices compute.

    Close it at the end, which ends the workers.

    Args:
        source: samples to train on.
        config: the run's; `data`, `train.batch_size` and `seed` matter.
        mesh: batches are sharded over it.
        start_step: steps already done.
        reserved, check: see `Reading`; they matter for samples that stay in memory.

    Raises:
        InputError: too few samples for the batch or the processes, a field that cannot be, or too
            little memory.
    """

    def __init__(
        self,
        source: Source,
        config: ConfigDict,
        mesh: Mesh,
        start_step: int,
        *,
        reserved: int = 0,
        check: Callable[[], Any] = lambda: None,
    ):
        check_training_data(source, config)
        self._source = source
        self._unreadable: set[int] = set()
        numbered, augmentation, order, _, reading = _arguments(source, config, mesh, start_step)
        reading = reading._replace(reserved=reserved, check=check)
        self._batches = _form(config)(numbered, augmentation, order, mesh, reading)
        self._feed = Feed(self._batches)

    def close(self) -> None:
        """Ends the thread and the workers."""
        self._feed.close()
        self._batches.close()

    @property
    def seconds_waited(self) -> float:
        """Time in which the devices had nothing to do because no batch was ready."""
        return self._feed.waited

    def next(self, running: Any = None) -> Mapping[str, jax.Array]:
        """The next batch: composite, real photo and mask.

        Args:
            running: results still being computed; until they are there nothing waits.

        Raises:
            InputError: a sample cannot be read.
        """
        batch = self._feed.next(running)
        self._unreadable |= batch.unreadable
        return {key: batch.arrays[key] for key in PIXELS}

    def report_unreadable(self) -> int:
        """Logs the samples of the batches since the last report that could not be read, and why.

        Returns:
            How many they were, of this process.
        """
        found, self._unreadable = sorted(self._unreadable), set()
        if found:
            _LOGGER.warning("%d training samples could not be read; others stood in:", len(found))
        for index in found:
            try:
                self._source[index]
                reason = "can be read now"
            except InputError as error:
                reason = str(error)
            _LOGGER.warning("  %s: %s", sample_name(self._source, index), reason)
        return len(found)


def check_training_data(source: Source, config: ConfigDict) -> None:
    """Raises InputError unless the set can train: enough samples, and fields that can be."""
    data = config.data
    if data.placement not in ("stream", "device", "host"):
        raise InputError(f"data.placement {data.placement!r}: choose 'stream', 'device' or 'host'")
    _numbered(source, data.unreadable)
    if len(source) < jax.process_count():
        raise InputError(
            f"the training set has {len(source)} samples for {jax.process_count()} processes: "
            "start fewer"
        )
    check_number_of_samples(source, config.train.batch_size)


def batch_of_step(source: Source, config: ConfigDict, mesh: Mesh, step: int) -> NamedBatch:
    """Makes this process's part of the batch that step `step` (from 1) trained on, once more."""
    rows = _form(config).first_rows(*_arguments(source, config, mesh, step - 1))
    names = [sample_name(source, index) for index in rows.pop("index").tolist()]
    return NamedBatch(rows, names)


def _form(config: ConfigDict) -> type[StreamedBatches] | type[ResidentBatches]:
    return StreamedBatches if config.data.placement == "stream" else ResidentBatches


def _arguments(
    source: Source, config: ConfigDict, mesh: Mesh, start_step: int
) -> tuple[Numbered, Augmentation, BatchOrder, Mesh, Reading]:
    data = config.data
    recipe = source.recipe if isinstance(source, PhotosSource) else None
    return (
        _numbered(source, data.unreadable),
        Augmentation(data.image_size, data.random_crop, data.random_flip, recipe),
        BatchOrder(config.train.batch_size, config.seed, start_step),
        mesh,
        Reading(data.num_workers, data.placement, data.resident_size),
    )


def _numbered(source: Source, unreadable: str) -> Numbered:
    return Numbered(source.raw() if isinstance(source, PhotosSource) else source, unreadable)
