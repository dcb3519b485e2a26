import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harmony_jax import InputError
from harmony_jax.errors import NonFiniteError
from harmony_jax.training.loop import train
from harmony_jax.training.nonfinite import replay
from harmony_jax.weights.steps import FOLDER, saved_steps
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
    assert message.startswith("step 2: loss or gradient is not finite (learning rate 1e+30, batch")
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


def test_the_command(exploded):
    workdir, _ = exploded
    result = subprocess.run(
        [sys.executable, "scripts/replay_step.py", str(workdir)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert result.stderr == (
        f"error: {workdir}: no dump of a failed step: pass the folder that training named\n"
    )


def test_no_dump(tmp_path):
    with pytest.raises(InputError, match="no dump of a failed step"):
        replay(tmp_path)


def test_unreadable_samples_are_replaced_counted_and_listed(tmp_path, caplog):
    from tests.made_data import write_iharmony4

    write_iharmony4(tmp_path / "data", train=8, test=4)
    photo = tmp_path / "data" / "HCOCO" / "real_images" / "train000.jpg"
    photo.write_bytes(photo.read_bytes()[:-50])
    config = tiny_config(tmp_path / "data")
    config.data.validation_fraction = 0.0
    config.evaluation.every_epochs = 0
    config.train.epochs = 2
    config.train.batch_size = 2
    with pytest.raises(InputError, match=r"train000\.jpg: damaged JPEG"):
        train(config, tmp_path / "error")
    config.data.unreadable = "skip"
    with caplog.at_level(logging.WARNING, "harmony_jax"):
        train(config, tmp_path / "skip")
    text = caplog.text
    assert text.count("2 training samples could not be read; others stood in:") == 2  # epochs
    assert "HCOCO/train000_1_0.jpg: " in text
    assert "HCOCO/train000_1_1.jpg: " in text
    assert "damaged JPEG" in text
