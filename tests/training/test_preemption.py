import os
import signal

import pytest

from harmony_jax.errors import StoppedError
from harmony_jax.training.preemption import StopRequest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_its_handler_comes_back(number):
    before = signal.getsignal(number)
    with StopRequest() as request:
        assert not request.received(1)
        os.kill(os.getpid(), number)
        assert request.received(2)
        with pytest.raises(StoppedError, match="stopped after step 2 of 9") as stopped:
            request.check(2, 9)
        assert stopped.value.signal == number
    assert signal.getsignal(number) == before


def test_the_second_ctrl_c_does_what_it_does_outside():
    found = []
    before = signal.signal(signal.SIGINT, lambda *_: found.append("ended"))
    try:
        with StopRequest():
            os.kill(os.getpid(), signal.SIGINT)
            assert not found
            os.kill(os.getpid(), signal.SIGINT)
            assert found == ["ended"]
    finally:
        signal.signal(signal.SIGINT, before)
