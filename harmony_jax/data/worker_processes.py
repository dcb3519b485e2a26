"""Worker processes: what each does first, and a function run in several of them."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from typing import Any, TypeVar

import cv2

from harmony_jax.errors import InputError

Item = TypeVar("Item")
Made = TypeVar("Made")


def start_worker(*_: int) -> None:
    """Prepares this process, one of one a core, to work for its parent and end with it."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process ends this one
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process when its parent was killed; it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


@cache
def _start_tracker() -> None:
    """Starts Python's tracker, which frees the shared memory that killed processes leave.

    It would warn of that after a program's last line.
    """
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        resource_tracker.ensure_running()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


@contextmanager
def starting_workers() -> Iterator[None]:
    """Processes and threads that begin in this block never get the SIGINT of a terminal's Ctrl-C.

    A process ignores it by itself only after it has loaded its modules.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    _start_tracker()  # which ends the block of the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def made_of(
    items: Sequence[Item], make: Callable[[Item], Made], workers: int, at_a_time: int = 1
) -> Iterator[Made]:
    """What is made of each item, in their order, by so many processes; 1: only this one.

    `make` is picklable, and sent to each process once, so that it can keep a cache. A process gets
    `at_a_time` items at a time.
    """
    if workers == 1:
        yield from map(make, items)
        return
    context = multiprocessing.get_context("spawn")  # this process has threads
    try:
        with ProcessPoolExecutor(workers, context, _start, (make,)) as pool:
            with starting_workers():
                made = pool.map(_make, items, chunksize=at_a_time)
            yield from made
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
