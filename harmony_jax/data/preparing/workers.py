"""Samples into records by several processes, in order."""

import multiprocessing
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from harmony_jax.data.iharmony4 import SampleFiles
from harmony_jax.data.preparing.records import make_record
from harmony_jax.data.worker_processes import start_worker
from harmony_jax.errors import InputError

_BATCH = 16  # samples that a process gets at a time
_BATCHES_PER_WORKER = 3  # under way or waiting to be taken, so that none is idle

Outcome = bytes | InputError


def make_records(samples: Sequence[SampleFiles], workers: int) -> Generator[Outcome, None, None]:
    """Makes the record of each sample, or says why it cannot be, in the order of the samples.

    Args:
        samples: where their files lie.
        workers: processes; with 1 there is none but this one.

    Raises:
        InputError: a process was killed.
    """
    batches = [samples[start : start + _BATCH] for start in range(0, len(samples), _BATCH)]
    if workers == 1:
        for batch in batches:
            yield from _make_batch(batch)
        return
    # Not forked: this process has threads.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), start_worker)
    under_way: deque[Future[list[Outcome]]] = deque()
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


def _make_batch(samples: Sequence[SampleFiles]) -> list[Outcome]:
    return [_make(sample) for sample in samples]


def _make(sample: SampleFiles) -> Outcome:
    try:
        return make_record(sample)
    except InputError as error:
        return error
