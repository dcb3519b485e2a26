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
    def hold(self, pixels: int, seconds: float | None = None) -> Iterator[None]:
        """Waits until so many more fit in, and counts them until the block ends.

        Raises:
            TimeoutError: they did not fit in for so many seconds; None waits on.
        """

        def fits() -> bool:
            return not self._held or self._held + pixels <= self._most

        with self._changed:
            if not self._changed.wait_for(fits, seconds):
                raise TimeoutError
            self._held += pixels
        try:
            yield
        finally:
            with self._changed:
                self._held -= pixels
                self._changed.notify_all()
