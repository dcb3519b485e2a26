"""A training whose samples stay on the devices."""

import signal
import threading
import time

import jax
import pytest

from harmony_jax.data.iharmony4 import IHarmony4Source
from harmony_jax.data.resident import store
from harmony_jax.errors import StoppedError
from harmony_jax.training import loop
from harmony_jax.training.setup import Training
from harmony_jax.weights.steps import FOLDER, saved_steps
from tests.made_data import tiny_config


@pytest.fixture
def config(mini_root):
    config = tiny_config(mini_root)
    config.data.placement, config.data.resident_size = "device", 48
    config.train.epochs = 1
    config.evaluation.every_epochs = 0
    return config


def test_the_step_is_compiled_once_and_its_memory_counted(config, tmp_path, monkeypatch, caplog):
    counted = []

    def check(decoder, devices):
        counted.append(decoder.storage.reserved)
        assert "Compiling jit(train_step)" in caplog.text  # before anything is decoded

    monkeypatch.setattr(store, "check_memory", check)
    monkeypatch.setattr(loop, "evaluate_workdir", lambda *_: None)
    with jax.log_compiles():
        loop.train(config, tmp_path)
    assert caplog.text.count("Compiling jit(train_step)") == 1
    assert saved_steps(tmp_path / FOLDER)
    (reserved,) = counted
    activations = 2 * 32 * 32 * 8 * 4  # of one layer, for a device's two images
    assert reserved > activations
    assert reserved < 100 * activations


@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals need the main thread"
)
def test_a_signal_while_samples_are_decoded_is_noticed_at_once(config, tmp_path, monkeypatch):
    decoded = []
    read = IHarmony4Source.__getitem__

    def slow(self, index):
        if not decoded and signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
            signal.raise_signal(signal.SIGTERM)
        decoded.append(index)
        time.sleep(0.05)
        return read(self, index)

    monkeypatch.setattr(IHarmony4Source, "__getitem__", slow)
    monkeypatch.setattr(Training, "compile_step", lambda _: 0)
    with pytest.raises(StoppedError, match=r"^stopped before the first step") as stopped:
        loop.train(config, tmp_path)
    assert stopped.value.signal == signal.SIGTERM
    assert len(decoded) < 10  # of 14
    assert not saved_steps(tmp_path / FOLDER)
