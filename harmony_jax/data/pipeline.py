"""The grain pipeline: from a source to uint8 batches, the same on any number of workers."""

import gc
import re
from collections.abc import Iterator
from typing import cast

import grain
import numpy as np
from absl import flags

from harmony_jax.data.batching import Augmentation, BatchOrder, Share
from harmony_jax.data.sources import Numbered, Source
from harmony_jax.data.transforms import MakeComposite, RandomCropAndFlip
from harmony_jax.data.worker_processes import start_worker
from harmony_jax.devices.host_cores import usable_cores
from harmony_jax.errors import InputError

# `composite`, `real` [batch, size, size, 3] and `mask` [batch, size, size], uint8; of `Numbered`
# samples also `index` [batch], each one's number in the source, and `unreadable` [batch], the
# number of the sample that it stands in for, or -1.
Batch = dict[str, np.ndarray]

_READ_AHEAD_BATCHES = 2
_THREADS = 2
_WHOLE = Share()
_LOST_WORKER = re.compile(r"[Ww]orker process was terminated")  # what grain says


class Batches:
    """Grain's batches, with an error that says what to do where a worker process was killed."""

    def __init__(self, batches: grain.DatasetIterator[Batch]):
        self._batches = batches

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """The next batch.

        Raises:
            InputError: a worker was killed, or what the source raised.
        """
        try:
            return next(self._batches)
        except InputError as error:
            failed = error.with_traceback(None)
        except RuntimeError as error:
            if not _LOST_WORKER.search(str(error)):
                raise
            failed = InputError(
                "a data worker was killed, perhaps for want of memory: run the same command again, "
                "with a smaller --config.data.num_workers if it happens again"
            )
        # Here, without grain's frames: they hold a batch in memory that is shared with the workers.
        raise failed

    def close(self) -> None:
        self._batches.close()


def training_batches(
    source: Source | Numbered,
    augmentation: Augmentation,
    order: BatchOrder,
    num_workers: int,
    share: Share = _WHOLE,
) -> Batches:
    """Endless augmented batches; every epoch visits every sample once, in another order.

    Order, augmentation and source determine a batch, so training continues at `order.start_step`
    with the batch it would have seen. P processes see the P parts of what one process would.

    Args:
        source: samples to train on; what else than pictures they have, batches have too, such as
            the `index` and `unreadable` of `Numbered`.
        augmentation: of the samples.
        order: of the batches.
        num_workers: decoding processes, 0 for threads, -1 for one a core (`usable_cores`).
        share: the part of each batch that this process reads.

    Raises:
        InputError: fewer samples than one batch.
    """
    check_number_of_samples(source, order.batch_size)
    dataset = (
        grain.MapDataset.source(source)
        .seed(order.seed)
        .shuffle()
        .repeat()
        .random_map(RandomCropAndFlip(augmentation))
    )
    if augmentation.recipe:
        composites = MakeComposite(augmentation.recipe, cast(Numbered, source))
        dataset = dataset.random_map(composites)
    dataset = (
        dataset.slice(slice(order.start_step * order.batch_size, None))
        .batch(order.batch_size // share.process_count, drop_remainder=True)
        # Each process takes a contiguous part of every batch, as the devices are ordered.
        .slice(slice(share.process_index, None, share.process_count))
    )
    return iterate(dataset, num_workers)


def check_number_of_samples(source: Source | Numbered, batch_size: int) -> None:
    """Raises InputError unless the training set fills a batch."""
    if len(source) < batch_size:
        raise InputError(
            f"train.batch_size {batch_size}: the training set has {len(source)} samples: "
            "choose a smaller batch"
        )


def close_batches(batches: Batches) -> None:
    """Ends the workers and gives back the memory shared with them; no batch may be in use."""
    batches.close()
    gc.collect()
    # grain frees it in a thread of its own, which the end of the program would interrupt. There is
    # no public way to wait for that thread; a grain without it is one that need not be waited for.
    shared = getattr(grain.multiprocessing, "SharedMemoryArray", None)
    freeing = getattr(shared, "_del_thread_pool", None)
    if freeing is not None:
        freeing.apply(int)


def iterate(dataset: grain.MapDataset, num_workers: int) -> Batches:
    """Reads ahead in threads or worker processes; close the iterator to end these."""
    if num_workers < 0:
        num_workers = usable_cores()
    if not num_workers:
        threads = grain.ReadOptions(_THREADS, _READ_AHEAD_BATCHES)
        return Batches(iter(dataset.to_iter_dataset(threads)))
    # No reading ahead inside a worker: what it held back at the end would stay in shared memory.
    batches = dataset.to_iter_dataset(grain.ReadOptions(0, 0))
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # grain's workers read flags; a notebook parses none
    options = grain.MultiprocessingOptions(num_workers, per_worker_buffer_size=_READ_AHEAD_BATCHES)
    return Batches(iter(batches.mp_prefetch(options, start_worker)))
