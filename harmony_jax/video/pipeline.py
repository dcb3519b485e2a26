"""The stages of a clip's way, each in a thread of its own, so that they overlap."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")


class Ahead(Generic[T]):
    """An iterator whose items a thread makes before they are asked for.

    Args:
        items: runs in the thread; what it raises is raised where the items are taken.
        count: how many are made ahead.
    """

    def __init__(self, items: Iterable[T], count: int):
        self._queue: queue.Queue[tuple[str, Any]] = queue.Queue(count)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(items,), daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        while True:
            kind, value = self._queue.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value

    def close(self) -> None:
        """Ends the thread, whether or not all was taken."""
        self._stopped.set()
        while self._thread.is_alive():
            with suppress(queue.Empty):
                self._queue.get(timeout=0.05)
        self._thread.join()

    def _run(self, items: Iterable[T]) -> None:
        try:
            for item in items:
                self._put(("item", item))
                if self._stopped.is_set():
                    return
            self._put(("end", None))
        except BaseException as error:
            self._put(("error", error))

    def _put(self, entry: tuple[str, Any]) -> None:
        while not self._stopped.is_set():
            try:
                self._queue.put(entry, timeout=0.1)
                return
            except queue.Full:
                pass


def mapped(
    function: Callable[[T], U], items: Iterable[T], executor: ThreadPoolExecutor, count: int
) -> Iterator[U]:
    """What a function makes of items, in their order, several at once."""
    waiting: deque[Future[U]] = deque()
    for item in items:
        waiting.append(executor.submit(function, item))
        if len(waiting) >= count:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
