"""A loss that is not finite: what training leaves of it, and that it can be run again."""

import shutil

import numpy as np
import pytest

from harmony_jax.errors import NonFiniteError
from harmony_jax.training.loop import train
from harmony_jax.training.nonfinite import replay
from harmony_jax.weights.steps import FOLDER, saved_steps
from tests.commands import failure
from tests.made_data import tiny_config


@pytest.fixture(scope="module")
def exploded(mini_root, tmp_path_factory):
    """The workdir and error of a training whose rate is far too high."""
    config, workdir = tiny_config(mini_root), tmp_path_factory.mktemp("exploded")
    config.optimizer.learning_rate = 1e30
    config.evaluation.every_epochs = 0
    with pytest.raises(NonFiniteError) as error:
        train(config, workdir)
    return workdir, str(error.value)


def test_training_stops_and_names_step_rate_and_samples(exploded):
    workdir, message = exploded
    assert message.startswith("step 2: ")
    assert "learning rate 1e+30" in message
    assert message.count(".jpg") == 4
    assert f"scripts/replay_step.py {workdir}/nonfinite/2" in message
    assert saved_steps(workdir / FOLDER) == []  # nothing of what followed was saved


def test_the_dump_reproduces_the_step(exploded):
    workdir, message = exploded
    found = replay(workdir / "nonfinite" / "2")
    assert found["step"] == 2
    assert found["reproduced"]
    assert not np.isfinite(found["loss"] + found["gradient_norm"])
    assert all(name in message for name in found["samples"])
    assert len(found["samples"]) == 4
    assert found["parameters"] == []  # the state is the one before the step


def test_the_command_refuses_a_dump_that_was_not_finished(exploded, tmp_path):
    shutil.copy(exploded[0] / "nonfinite" / "2" / "batch_0.npz", tmp_path)
    assert failure("scripts/replay_step.py", tmp_path).startswith(f"error: {tmp_path}: no dump")
