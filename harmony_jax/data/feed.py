"""Batches made ready in a thread while the device computes, and how long it waited for them."""

import contextlib
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import jax

T = TypeVar("T")

_CHECK_SECONDS = 0.1


class Feed(Generic[T]):
    """Runs an iterator ahead of its use; iterate it instead, and close it.

    Args:
        items: batches on the devices; run in a thread, which owns it until `close`.
        ahead: how many to keep ready.

    Attributes:
        waited: seconds that the devices had nothing to do because no item was ready.
    """

    def __init__(self, items: Iterator[T], ahead: int = 2):
        self.waited = 0.0
        self._ready: queue.Queue[tuple[bool, Any]] = queue.Queue(ahead)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(items,), name="feed", daemon=True)
        self._thread.start()

    def next(self, running: Any = None) -> T:
        """The next item.

        Args:
            running: results that the devices are still computing. Time until these are there
                does not count as waiting for the item.

        Raises:
            StopIteration: there is none.
            Exception: what the iterator raised.
        """
        if self._ready.empty():
            jax.block_until_ready(running)
            start = time.perf_counter()
            good, item = self._ready.get()
            self.waited += time.perf_counter() - start
        else:
            good, item = self._ready.get()
        if not good:
            self._ready.put((good, item))  # asked again, it ends again
            raise item
        return item

    def __next__(self) -> T:
        return self.next()

    def __iter__(self) -> Iterator[T]:
        return self

    def close(self) -> None:
        """Ends the thread and lets go of what is ready; the iterator is not used any more."""
        self._closing.set()
        self._thread.join()
        # Batches may lie in memory shared with worker processes, which should find it unused.
        with contextlib.suppress(queue.Empty):
            while True:
                self._ready.get_nowait()

    def _run(self, items: Iterator[T]) -> None:
        try:
            while not self._closing.is_set():
                self._put((True, next(items)))
        except BaseException as error:  # handed to whoever asks for the next item
            self._put((False, error))

    def _put(self, entry: tuple[bool, Any]) -> None:
        while not self._closing.is_set():
            try:
                return self._ready.put(entry, timeout=_CHECK_SECONDS)
            except queue.Full:
                continue
