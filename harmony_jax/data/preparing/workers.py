"""Runs a function in several processes."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from harmony_jax.data.worker_processes import start_worker
from harmony_jax.errors import InputError

Item = TypeVar("Item")
Made = TypeVar("Made")


def made_of(
    items: Sequence[Item], make: Callable[[Item], Made], workers: int, at_a_time: int = 1
) -> Iterator[Made]:
    """What is made of each item, in their order.

    Args:
        items: to make something of.
        make: makes it; picklable, and sent to each process once, so that it can keep a cache.
        workers: processes; 1: only this one.
        at_a_time: items that a process gets at a time.

    Raises:
        InputError: a process was killed.
    """
    if workers == 1:
        yield from map(make, items)
        return
    context = multiprocessing.get_context("spawn")  # this process has threads
    try:
        with ProcessPoolExecutor(workers, context, _start, (make,)) as pool:
            yield from pool.map(_make, items, chunksize=at_a_time)
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process was killed, perhaps for lack of memory: run the same command with "
            "fewer workers, and it continues"
        ) from error


_make_of_this_process: Callable[[Any], Any]


def _start(make: Callable[[Any], Any]) -> None:
    global _make_of_this_process
    start_worker()
    _make_of_this_process = make


def _make(item: Any) -> Any:
    return _make_of_this_process(item)
