"""A limit on the pixels in work at the same time: large photos wait for each other."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class PixelBudget:
    """Bounds the memory of several threads that work on pictures."""

    def __init__(self, pixels: int):
        """`pixels`: the limit; a single picture may have more."""
        self._most = pixels
        self._held = 0
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Waits until so many more fit in, and counts them until the block ends."""
        with self._changed:
            self._changed.wait_for(lambda: not self._held or self._held + pixels <= self._most)
            self._held += pixels
        try:
            yield
        finally:
            with self._changed:
                self._held -= pixels
                self._changed.notify_all()
