"""An iterator that runs in a thread, ahead of its use."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_CHECK_SECONDS = 0.1


class Ahead(Generic[T]):
    """An iterator whose items a thread makes before they are asked for; close it at the end.

    Args:
        items: belongs to the thread until `close`. What it raises is raised where the next item is
            asked for.
        count: how many items to keep ready, besides the one being made.
    """

    def __init__(self, items: Iterable[T], count: int = 2):
        self._queue: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(count)
        self._closing = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(iter(items),), name="ahead", daemon=True
        )
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether the next item can be had without waiting."""
        return not self._queue.empty()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        item, error = self._queue.get()
        if error is not None:
            self._queue.put((item, error))  # the next call raises it again
            raise error
        return item

    def close(self) -> None:
        """Ends the thread and drops the items that are ready."""
        self._closing.set()
        self._thread.join()
        # Items may lie in memory shared with worker processes, which must be unused when they end.
        while self.ready:
            self._queue.get_nowait()

    def _run(self, items: Iterator[T]) -> None:
        try:
            while not self._closing.is_set():
                self._put((next(items), None))
        except BaseException as error:  # StopIteration among them
            self._put((None, error))

    def _put(self, entry: tuple[Any, BaseException | None]) -> None:
        while not self._closing.is_set():
            try:
                return self._queue.put(entry, timeout=_CHECK_SECONDS)
            except queue.Full:
                continue
