"""Samples made by several processes, in order."""

import multiprocessing
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from harmony_jax.data.iharmony4 import SampleFiles
from harmony_jax.data.preparing.records import make_record
from harmony_jax.data.worker_processes import start_worker
from harmony_jax.errors import InputError

Item = TypeVar("Item")
Made = TypeVar("Made")

_BATCH = 16  # samples that a process gets at a time
_BATCHES_PER_WORKER = 3  # under way or waiting to be taken, so that none is idle


def make_records(
    samples: Sequence[SampleFiles], workers: int
) -> Generator[bytes | InputError, None, None]:
    """Makes the record of each sample, or says why it cannot be: `made_of`."""
    return made_of(samples, _make_record, workers)


def made_of(
    items: Sequence[Item], make: Callable[[Item], Made], workers: int
) -> Generator[Made | InputError, None, None]:
    """What is made of each item, or the error that says why it cannot be, in their order.

    Args:
        items: to make something of.
        make: what makes it, which can be pickled; each process gets it once.
        workers: processes; with 1 there is none but this one.

    Raises:
        InputError: a process was killed.
    """
    batches = [items[start : start + _BATCH] for start in range(0, len(items), _BATCH)]
    if workers == 1:
        for batch in batches:
            yield from (_attempt(make, item) for item in batch)
        return
    # Not forked: this process has threads.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _start, (start_worker, make))
    under_way: deque[Future[list[Any]]] = deque()
    try:
        for batch in batches:
            under_way.append(pool.submit(_make_batch, batch))
            if len(under_way) >= _BATCHES_PER_WORKER * workers:
                yield from under_way.popleft().result()
        while under_way:
            yield from under_way.popleft().result()
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process was killed, perhaps for want of memory: run the same command with "
            "fewer --workers, and it continues"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_of_this_process: Callable[[Any], Any]


def _start(begin: Callable[[], None], make: Callable[[Any], Any]) -> None:
    global _of_this_process
    begin()
    _of_this_process = make


def _make_batch(items: Sequence[Any]) -> list[Any]:
    return [_attempt(_of_this_process, item) for item in items]


def _attempt(make: Callable[[Item], Made], item: Item) -> Made | InputError:
    try:
        return make(item)
    except InputError as error:
        return error


def _make_record(sample: SampleFiles) -> bytes:
    return make_record(sample)
