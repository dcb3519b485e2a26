"""The training set as a run sees it: batches on the devices from any step on."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from harmony_jax.data import pipeline
from harmony_jax.data.feed import Feed
from harmony_jax.data.resident import batches as resident
from harmony_jax.data.sources import Numbered, Source, sample_name
from harmony_jax.devices import mesh as meshes
from harmony_jax.errors import InputError

PIXELS = ("composite", "real", "mask")

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

    Raises:
        InputError: too few samples for the batch or the processes, or a field that cannot be.
    """

    def __init__(self, source: Source, config: ConfigDict, mesh: Mesh, start_step: int):
        check_training_data(source, config)
        self._source = source
        self._unreadable: set[int] = set()
        placement = config.data.placement
        if placement == "stream":
            self._batches = _stream(source, config, start_step)
        else:
            self._batches = resident.ResidentBatches(
                **_resident_arguments(source, config, mesh),
                start_step=start_step,
                placement=placement,
            )
        self._feed = Feed(self._to_devices(mesh))

    def close(self) -> None:
        """Ends the thread and the workers."""
        self._feed.close()
        if isinstance(self._batches, resident.ResidentBatches):
            self._batches.close()
        else:
            pipeline.close_batches(self._batches)

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
        batch, unreadable = self._feed.next(running)
        self._unreadable |= unreadable
        return batch

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

    def _to_devices(self, mesh: Mesh) -> Iterator[tuple[dict[str, jax.Array], set[int]]]:
        """Each batch, with the numbers of the samples that others in it stand in for."""
        if isinstance(self._batches, resident.ResidentBatches):
            unreadable = set(self._batches.unreadable)  # found while all were decoded
            for batch in self._batches:
                yield {key: batch[key] for key in PIXELS}, unreadable
                unreadable = set()
            return
        for batch in self._batches:
            pixels = {key: batch[key] for key in PIXELS}
            yield meshes.to_devices(pixels, mesh), set(batch["unreadable"].tolist()) - {-1}


def check_training_data(source: Source, config: ConfigDict) -> None:
    """Raises InputError unless the set can train: enough samples, and fields that can be."""
    data = config.data
    if data.placement not in ("stream", "device", "host"):
        raise InputError(f"data.placement {data.placement!r}: choose 'stream', 'device' or 'host'")
    Numbered(source, data.unreadable)
    if len(source) < jax.process_count():
        raise InputError(
            f"the training set has {len(source)} samples for {jax.process_count()} processes: "
            "start fewer"
        )
    pipeline.check_number_of_samples(source, config.train.batch_size)


def batch_of_step(source: Source, config: ConfigDict, mesh: Mesh, step: int) -> NamedBatch:
    """Makes this process's part of the batch that step `step` (from 1) trained on, once more."""
    if config.data.placement == "stream":
        batches = _stream(source, config, step - 1)
        batch = next(batches)
    else:
        made = resident.batch_of_step(**_resident_arguments(source, config, mesh), step=step - 1)
        batch = {key: _own_rows(array) for key, array in made.items()}
    # Copied: the workers' memory goes with them.
    pixels = {key: np.array(batch[key]) for key in PIXELS}
    names = [sample_name(source, index) for index in batch["index"].tolist()]
    if config.data.placement == "stream":
        pipeline.close_batches(batches)
    return NamedBatch(pixels, names)


def _stream(source: Source, config: ConfigDict, start_step: int) -> Any:
    return pipeline.training_batches(
        source,
        image_size=config.data.image_size,
        batch_size=config.train.batch_size,
        seed=config.seed,
        start_step=start_step,
        num_workers=config.data.num_workers,
        unreadable=config.data.unreadable,
        random_crop=config.data.random_crop,
        random_flip=config.data.random_flip,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def _resident_arguments(source: Source, config: ConfigDict, mesh: Mesh) -> dict[str, Any]:
    return {
        "source": Numbered(source, config.data.unreadable),
        "image_size": config.data.image_size,
        "stored_size": config.data.resident_size,
        "batch_size": config.train.batch_size,
        "seed": config.seed,
        "num_workers": config.data.num_workers,
        "mesh": mesh,
        "random_crop": config.data.random_crop,
        "random_flip": config.data.random_flip,
    }


def _own_rows(array: jax.Array) -> np.ndarray:
    """The rows of a sharded array that this process holds, in order."""
    shards = {shard.index[0].start or 0: shard.data for shard in array.addressable_shards}
    return np.concatenate([np.asarray(shards[start]) for start in sorted(shards)])
