"""The grain pipeline: from samples to uint8 batches, the same on any number of workers."""

import gc
import re
from collections.abc import Iterator

import grain
import numpy as np
from absl import flags

from harmony_jax.data.batching import Augmentation, BatchOrder
from harmony_jax.data.sources import Numbered
from harmony_jax.data.transforms import MakeComposite, RandomCropAndFlip
from harmony_jax.data.worker_processes import start_worker
from harmony_jax.devices.host_cores import usable_cores
from harmony_jax.errors import InputError

Batch = dict[str, np.ndarray]

_READ_AHEAD_BATCHES = 2
_THREADS = 2
_LOST_WORKER = re.compile(r"[Ww]orker process was terminated")  # grain's message


class Batches:
    """Batches of a grain data set, read ahead in threads or worker processes; close it at the end.

    There are `num_workers` processes; 0 for threads, -1 for one a core (`usable_cores`).
    """

    def __init__(self, dataset: grain.MapDataset, num_workers: int):
        if num_workers < 0:
            num_workers = usable_cores()
        if not num_workers:
            threads = grain.ReadOptions(_THREADS, _READ_AHEAD_BATCHES)
            self._batches = iter(dataset.to_iter_dataset(threads))
            return
        # A worker does not read ahead itself: such batches would stay in shared memory at the end.
        batches = dataset.to_iter_dataset(grain.ReadOptions(0, 0))
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # grain's workers read flags; a notebook parses none
        options = grain.MultiprocessingOptions(num_workers, _READ_AHEAD_BATCHES)
        self._batches = iter(batches.mp_prefetch(options, start_worker))

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """The next batch."""
        try:
            return next(self._batches)
        except InputError as error:
            failed = error.with_traceback(None)
        except RuntimeError as error:
            if not _LOST_WORKER.search(str(error)):
                raise
            failed = InputError(
                "a data worker was killed, perhaps because memory ran out: run the same command "
                "again, with a smaller data.num_workers if it happens again"
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
    return Batches(dataset, num_workers)
