"""A stage of a clip's processing that works on several frames at once."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


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
