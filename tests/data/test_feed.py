import threading
import time

import numpy as np
import pytest

from harmony_jax import InputError
from harmony_jax.data.feed import Feed


def test_items_come_in_order_and_end():
    feed = Feed(iter(range(5)))
    assert list(feed) == [0, 1, 2, 3, 4]
    with pytest.raises(StopIteration):
        feed.next()
    feed.close()


def test_what_the_iterator_raises_is_raised_where_the_item_is_asked_for():
    def items():
        yield 1
        raise InputError("damaged")

    feed = Feed(items())
    assert feed.next() == 1
    for _ in range(2):
        with pytest.raises(InputError, match="damaged"):
            feed.next()
    feed.close()


def test_it_runs_ahead_by_so_many_and_no_further():
    made = []

    def items():
        for number in range(100):
            made.append(number)
            yield number

    feed = Feed(items(), ahead=2)
    time.sleep(0.3)
    assert len(made) == 3  # two ready, one in hand
    feed.close()
    assert not any(thread.name.startswith("feed") for thread in threading.enumerate())


def test_waiting_is_counted_only_while_the_device_has_nothing_to_do():
    class Running:
        """A result that is ready after a while, as jax.block_until_ready sees it."""

        def __init__(self, seconds):
            self.until = time.perf_counter() + seconds

        def block_until_ready(self):
            time.sleep(max(0.0, self.until - time.perf_counter()))

    def slow():
        while True:
            time.sleep(0.2)
            yield np.zeros(1)

    feed = Feed(slow())
    feed.next(Running(0.5))  # the item is there long before the device is free
    assert feed.waited < 0.05
    feed.next()
    feed.next()
    feed.next(Running(0.0))
    assert 0.1 < feed.waited < 0.7
    feed.close()
