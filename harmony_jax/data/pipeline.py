"""The grain pipeline: from samples to uint8 batches, the same on any number of workers."""

import gc
import logging
import re
from collections.abc import Iterator

import grain
import numpy as np
from absl import flags

from harmony_jax.data.batching import CHANNELS, Augmentation, BatchOrder
from harmony_jax.data.sources import Numbered
from harmony_jax.data.transforms import MakeComposite, RandomCropAndFlip
from harmony_jax.data.worker_processes import start_worker, starting_workers
from harmony_jax.devices import host_limits
from harmony_jax.devices.host_cores import usable_cores
from harmony_jax.errors import InputError

Batch = dict[str, np.ndarray]

_READ_AHEAD_BATCHES = 2
_THREADS = 2
_BATCHES_IN_USE = 6  # of all workers, measured: in two steps, and ready for later ones (`Ahead`)
_FILES_PER_WORKER, _OTHER_FILES = 44, 64  # measured; a checkpoint that is written has some open
_LOST_WORKER = re.compile(r"[Ww]orker process was terminated.*exit code (-?\d+)")  # grain's message
_BUS_ERROR = -7  # how a process ends that writes into shared memory when that is full
_MORE_SHARED_MEMORY = (
    f"give {host_limits.SHARED_MEMORY} more (Docker: --shm-size=8g), or choose fewer "
    "data.num_workers"
)

_LOGGER = logging.getLogger(__name__)


class Batches:
    """Batches of a grain data set, read ahead in threads or worker processes; close it at the end.

    There are `num_workers` processes; 0 for threads, -1 for one a core (`usable_cores`). There are
    fewer where memory to share with them, or files that may be open, are scarce. `batch_bytes` is
    the size of a batch, or of the largest.
    """

    def __init__(self, dataset: grain.MapDataset, num_workers: int, batch_bytes: int):
        workers, ahead = _affordable(
            usable_cores() if num_workers < 0 else num_workers, batch_bytes
        )
        if not workers:
            threads = grain.ReadOptions(_THREADS, _READ_AHEAD_BATCHES)
            self._batches = iter(dataset.to_iter_dataset(threads))
            return
        # A worker does not read ahead itself: such batches would stay in shared memory at the end.
        batches = dataset.to_iter_dataset(grain.ReadOptions(0, 0))
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # grain's workers read flags; a notebook parses none
        options = grain.MultiprocessingOptions(workers, ahead)
        self._batches = iter(batches.mp_prefetch(options, start_worker))

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """The next batch."""
        try:
            with starting_workers():  # at the first call
                return next(self._batches)
        except InputError as error:
            failed = error.with_traceback(None)
        except RuntimeError as error:
            lost = _LOST_WORKER.search(str(error))
            if not lost:
                raise
            failed = InputError(
                f"{host_limits.SHARED_MEMORY} is full: {_MORE_SHARED_MEMORY}"
                if int(lost[1]) == _BUS_ERROR
                else "a data worker was killed, perhaps because memory ran out: run the same "
                "command again, with a smaller data.num_workers if it happens again"
            )
        # Raised here, without grain's frames: they hold a batch in memory shared with the workers.
        raise failed

    def close(self) -> None:
        """Ends the workers and frees the memory shared with them; no batch may be in use."""
        self._batches.close()
        gc.collect()
        # grain frees it in a thread of its own, which the end of the program would interrupt. There
        # is no public way to wait for that thread, and newer versions may not have it.
        shared = getattr(grain.multiprocessing, "SharedMemoryArray", None)
        freeing = getattr(shared, "_del_thread_pool", None)
        if freeing is not None:
            freeing.apply(int)


def _affordable(workers: int, batch_bytes: int) -> tuple[int, int]:
    """Of so many workers those that the host allows, and how many batches each reads ahead.

    Each holds the batches that it has read ahead and the next one, and so does this process for it.
    """
    ahead = _READ_AHEAD_BATCHES
    memory, files = host_limits.free_shared_memory(), host_limits.free_files()
    if workers and memory is not None:
        batches = memory // batch_bytes - _BATCHES_IN_USE
        if batches < 2 * (ahead + 1) * workers:
            ahead = 1
        possible = max(0, batches // (2 * (ahead + 1)))
        if possible < workers:
            _LOGGER.warning(
                "%s has %.0f MB free, enough for %d of %d data workers%s: %s",
                *(host_limits.SHARED_MEMORY, memory / 1e6, possible, workers),
                "" if possible else ", so threads decode",
                _MORE_SHARED_MEMORY,
            )
            workers = possible
    if workers and files is not None:
        possible = max(0, (files - _OTHER_FILES) // _FILES_PER_WORKER)
        if possible < workers:
            _LOGGER.warning(
                "%d more files may be open, enough for %d of %d data workers%s: raise the limit "
                "(ulimit -Hn; Docker: --ulimit nofile=65536)",
                *(files, possible, workers, "" if possible else ", so threads decode"),
            )
            workers = possible
    return workers, ahead


def training_batches(
    samples: Numbered,
    augmentation: Augmentation,
    order: BatchOrder,
    num_workers: int,
    process: tuple[int, int] = (0, 1),
) -> Batches:
    """Endless augmented batches; every epoch visits every sample once, in another order.

    A batch has `composite`, `real` [batch, size, size, 3] and `mask` [batch, size, size], uint8,
    `index` [batch], each sample's number, and `unreadable` [batch] (see `Numbered`).

    Order, augmentation and samples determine a batch, so training continues at `order.start_step`
    with the batch it would have seen. P processes see the P parts of what one process would.

    Args:
        samples: to train on, at least one batch.
        augmentation, order: what decides the batches, besides.
        num_workers: as in `Batches`.
        process: index and count of this JAX process.
    """
    dataset = (
        grain.MapDataset.source(samples)
        .seed(order.seed)
        .shuffle()
        .repeat()
        .random_map(RandomCropAndFlip(augmentation))
    )
    if samples.recipe:
        dataset = dataset.random_map(MakeComposite(samples.recipe, samples.objects))
    index, count = process
    dataset = (
        dataset.slice(slice(order.start_step * order.batch_size, None))
        .batch(order.batch_size // count, drop_remainder=True)
        # Each process takes a contiguous part of every batch, as the devices are ordered.
        .slice(slice(index, None, count))
    )
    pixels = sum(CHANNELS.values()) * augmentation.image_size**2
    return Batches(dataset, num_workers, pixels * order.batch_size // count)
