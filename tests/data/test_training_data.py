import time

import pytest

from harmony_jax import InputError
from harmony_jax.data.training_data import TrainingData, check_training_data
from harmony_jax.devices.mesh import create_mesh
from tests.made_data import Numbers, tiny_config


def test_waiting_is_counted_only_while_the_device_has_nothing_to_do():
    class Running:
        """A result that is ready after a while, as jax.block_until_ready sees it."""

        def __init__(self, seconds):
            self.until = time.perf_counter() + seconds

        def block_until_ready(self):
            time.sleep(max(0.0, self.until - time.perf_counter()))

    class Slow(Numbers):
        def __getitem__(self, index: int):
            time.sleep(0.1)  # of a batch of 4 by two threads: 0.2
            return super().__getitem__(index)

    data = TrainingData(Slow(), tiny_config(), create_mesh(), 0)
    data.next(Running(0.8))  # the batch is there long before the device is free
    assert data.seconds_waited < 0.05
    for _ in range(6):
        data.next()
    data.next(Running(0.0))
    assert 0.1 < data.seconds_waited < 3.0
    data.close()


def test_fewer_samples_than_a_batch_are_refused():
    config = tiny_config()
    config.train.batch_size = 64
    with pytest.raises(InputError, match=r"train\.batch_size 64.*60 samples"):
        check_training_data(Numbers(), config)
