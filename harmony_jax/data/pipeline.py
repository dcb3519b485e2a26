"""The grain pipeline: from a source to uint8 batches, the same on any number of workers."""

import gc
import os
from functools import cache

import grain
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from harmony_jax.data.demo import DemoSource
from harmony_jax.data.iharmony4 import SUBSETS, IHarmony4Source
from harmony_jax.data.prepared import PreparedSource, is_prepared
from harmony_jax.data.sources import Numbered, Source, hold_out
from harmony_jax.data.transforms import RandomCropAndFlip
from harmony_jax.data.worker_processes import start_worker
from harmony_jax.errors import InputError

# `composite`, `real` [batch, size, size, 3] and `mask` [batch, size, size], uint8; for training
# also `index` [batch], each sample's number in the source, and `unreadable` [batch], the number of
# the sample that it stands in for, or -1.
Batch = dict[str, np.ndarray]

_MAX_WORKERS = 16
_READ_AHEAD_BATCHES = 2
_THREADS = 2


def open_split(data: ConfigDict, split: str) -> Source:
    """Opens one set of a config's data.

    Args:
        data: the config's `data` section (configs/base.py).
        split: `train`, `validation` or `test`. Validation is held out of the training list, photo
            by photo; with `data.validation_fraction` 0 it is empty.

    Raises:
        InputError: unknown data set or split, or files missing.
    """
    if split not in ("train", "validation", "test"):
        raise InputError(f"split {split!r}: choose 'train', 'validation' or 'test'")
    if not 0 <= data.validation_fraction < 1:
        raise InputError(
            f"data.validation_fraction {data.validation_fraction}: choose 0 or more and below 1"
        )
    listed = "test" if split == "test" else "train"
    source: Source
    if data.name == "iharmony4":
        if not data.subsets:
            raise InputError(f"data.subsets is empty: choose of {', '.join(SUBSETS)}")
        form = PreparedSource if is_prepared(data.root) else IHarmony4Source
        source = form(data.root, listed, tuple(data.subsets))
    elif data.name == "demo":
        source = _demo_source(listed, data.image_size)
    else:
        raise InputError(f"data.name {data.name!r}: choose 'iharmony4' or 'demo'")
    if split == "test":
        return source
    train, validation = hold_out(source, data.validation_fraction, data.validation_seed)
    return train if split == "train" else validation


_demo_source = cache(DemoSource)  # rendering it takes seconds


def training_batches(
    source: Source,
    *,
    image_size: int,
    batch_size: int,
    seed: int,
    start_step: int,
    num_workers: int,
    unreadable: str = "error",
    random_crop: bool = True,
    random_flip: bool = True,
    process_index: int = 0,
    process_count: int = 1,
) -> grain.DatasetIterator[Batch]:
    """Endless augmented batches; every epoch visits every sample once, in another order.

    Step, seed and source determine a batch, so training continues at `start_step` with the batch
    it would have seen. P processes see the P parts of what one process would.

    Args:
        source: samples to train on.
        image_size: side of the crops after resizing, in pixels.
        batch_size: samples a step over all processes.
        seed: of order and augmentation.
        start_step: steps already done.
        num_workers: decoding processes, 0 for threads of this one, -1 for one a core.
        unreadable: `data.unreadable`, see `Numbered`.
        random_crop, random_flip: what to augment by, see `RandomCropAndFlip`.
        process_index, process_count: this JAX process among all.

    Raises:
        InputError: fewer samples than one batch, or an unknown policy.
    """
    check_number_of_samples(source, batch_size)
    own = batch_size // process_count
    dataset = (
        grain.MapDataset.source(Numbered(source, unreadable))
        .seed(seed)
        .shuffle()
        .repeat()
        .random_map(RandomCropAndFlip(image_size, crop=random_crop, flip=random_flip))
        .slice(slice(start_step * batch_size, None))
        .batch(own, drop_remainder=True)
        # Each process takes a contiguous part of every batch, as the devices are ordered.
        .slice(slice(process_index, None, process_count))
    )
    return iterate(dataset, num_workers)


def check_number_of_samples(source: Source, batch_size: int) -> None:
    """Raises InputError unless the training set fills a batch."""
    if len(source) < batch_size:
        raise InputError(
            f"train.batch_size {batch_size}: the training set has {len(source)} samples: "
            "choose a smaller batch"
        )


def close_batches(batches: grain.DatasetIterator[Batch]) -> None:
    """Ends the workers and gives back the memory shared with them; no batch may be in use."""
    batches.close()
    gc.collect()
    # grain frees it in a thread of its own, which the end of the program would interrupt. There is
    # no public way to wait for that thread; a grain without it is one that need not be waited for.
    shared = getattr(grain.multiprocessing, "SharedMemoryArray", None)
    freeing = getattr(shared, "_del_thread_pool", None)
    if freeing is not None:
        freeing.apply(int)


def iterate(dataset: grain.MapDataset, num_workers: int) -> grain.DatasetIterator[Batch]:
    """Reads ahead in threads or worker processes; close the iterator to end these."""
    if num_workers < 0:
        num_workers = min(os.cpu_count() or 1, _MAX_WORKERS)
    if not num_workers:
        return iter(dataset.to_iter_dataset(grain.ReadOptions(_THREADS, _READ_AHEAD_BATCHES)))
    # No reading ahead inside a worker: what it held back at the end would stay in shared memory.
    batches = dataset.to_iter_dataset(grain.ReadOptions(0, 0))
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # grain's workers read flags; a notebook parses none
    options = grain.MultiprocessingOptions(num_workers, per_worker_buffer_size=_READ_AHEAD_BATCHES)
    return iter(batches.mp_prefetch(options, start_worker))
