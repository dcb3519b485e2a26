"""The training set as a run sees it: batches on the devices from any step on."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from harmony_jax.ahead import Ahead
from harmony_jax.data.batching import PIXELS, Augmentation, BatchOrder
from harmony_jax.data.pipeline import Batch, training_batches
from harmony_jax.data.resident.batches import ResidentBatches
from harmony_jax.data.resident.store import Storage
from harmony_jax.data.sources import Numbered, Source, sample_name
from harmony_jax.devices import mesh as meshes
from harmony_jax.errors import InputError

_LOGGER = logging.getLogger(__name__)

# The pictures, over the mesh. On the host, of this process's samples: `index`, their numbers, and
# `unreadable`, the numbers of those that others stand in for.
_DeviceBatch = dict[str, Any]


class NamedBatch(NamedTuple):
    """One process's part of a batch, on the host, with its samples' names."""

    pixels: dict[str, np.ndarray]
    names: list[str]


class TrainingData:
    """Endless batches of a training set, made ready while the devices compute.

    Close it at the end, which ends the workers. Batches are sharded over the mesh. `reserved` and
    `check` are for samples that stay in memory (`Storage`).

    Attributes:
        seconds_waited: time in which the devices had nothing to do because no batch was ready.
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
        self.seconds_waited = 0.0
        batches, self._end = _open(source, config, mesh, start_step, reserved=reserved, check=check)
        self._ahead = Ahead(batches)

    def close(self) -> None:
        """Ends the thread and the workers."""
        self._ahead.close()
        self._end()

    def next(self, running: Any = None) -> Mapping[str, jax.Array]:
        """The next batch: uint8 `composite`, `real` [batch, size, size, 3], `mask` without the 3.

        Time until `running`, results that the devices still compute, are there is no waiting.
        """
        if not self._ahead.ready:
            jax.block_until_ready(running)
        start = time.perf_counter()
        batch = next(self._ahead)
        self.seconds_waited += time.perf_counter() - start
        self._unreadable.update(batch["unreadable"])
        return {key: batch[key] for key in PIXELS}

    def report_unreadable(self) -> int:
        """Logs this process's new unreadable samples, and why; returns how many there were."""
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
    """Raises InputError if the set has too few samples."""
    count, batch_size = len(source), config.train.batch_size
    if count < jax.process_count():
        raise InputError(
            f"the training set has {count} samples for {jax.process_count()} processes: start fewer"
        )
    if count < batch_size:
        raise InputError(
            f"train.batch_size {batch_size}: the training set has {count} samples: "
            "choose a smaller batch"
        )


def batch_of_step(source: Source, config: ConfigDict, mesh: Mesh, step: int) -> NamedBatch:
    """Makes this process's part of the batch that step `step` (from 1) trained on, once more."""
    batches, end = _open(source, config, mesh, step - 1, first_only=True)
    batch = next(batches)
    names = [sample_name(source, index) for index in batch["index"].tolist()]
    pixels = {key: _own_rows(batch[key]) for key in PIXELS}
    del batch
    end()
    return NamedBatch(pixels, names)


def _open(
    source: Source,
    config: ConfigDict,
    mesh: Mesh,
    start_step: int,
    *,
    first_only: bool = False,
    **options: Any,
) -> tuple[Iterator[_DeviceBatch], Callable[[], None]]:
    """The batches from a step on, and the function that ends them.

    Batches are either decoded and augmented on the host for every step, or made by the devices of
    samples that were decoded once. For the latter are `first_only` (see `ResidentBatches`) and
    `options` (see `Storage`).
    """
    data = config.data
    samples = Numbered(source, data.unreadable)
    augmentation = Augmentation(data.image_size, data.random_crop, data.random_flip)
    order = BatchOrder(config.train.batch_size, config.seed, start_step)
    if data.placement == "stream":
        process = (jax.process_index(), jax.process_count())
        streamed = training_batches(samples, augmentation, order, data.num_workers, process)
        return map(partial(_to_devices, mesh), streamed), streamed.close
    on_host = data.placement == "host"
    storage = Storage(data.resident_size, on_host, data.num_workers, **options)
    resident = ResidentBatches(samples, augmentation, order, mesh, storage, first_only)
    return resident, resident.close


def _to_devices(mesh: Mesh, batch: Batch) -> _DeviceBatch:
    pixels = meshes.to_devices({key: batch[key] for key in PIXELS}, mesh)
    replaced = [index for index in batch["unreadable"].tolist() if index >= 0]
    # Copied, as the batch lies in memory that is shared with the workers.
    return {**pixels, "index": batch["index"].copy(), "unreadable": replaced}


def _own_rows(array: jax.Array) -> np.ndarray:
    """The rows of a sharded array that this process holds, in order; a copy."""
    shards = {shard.index[0].start or 0: shard.data for shard in array.addressable_shards}
    return np.concatenate([np.asarray(shards[start]) for start in sorted(shards)])
