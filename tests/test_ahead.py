import threading
import time

import pytest

from harmony_jax import InputError
from harmony_jax.ahead import Ahead


@pytest.mark.parametrize("error", [StopIteration, InputError])
def test_items_come_in_order_and_what_ends_them_is_raised_again_and_again(error):
    def items():
        yield from range(5)
        if error is InputError:
            raise InputError("damaged")

    ahead = Ahead(items())
    assert [next(ahead) for _ in range(5)] == [0, 1, 2, 3, 4]
    for _ in range(2):
        with pytest.raises(error):
            next(ahead)
    ahead.close()


def test_it_runs_ahead_by_so_many_and_no_further():
    made = []

    def items():
        for number in range(100):
            made.append(number)
            yield number

    ahead = Ahead(items(), count=2)
    time.sleep(0.2)
    assert len(made) == 3  # two ready, one in hand
    assert ahead.ready
    ahead.close()
    assert not any(thread.name == "ahead" for thread in threading.enumerate())
