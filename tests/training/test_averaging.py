"""The moving average of the parameters: what it is, and that inference has it."""

import jax
import numpy as np
import pytest

from harmony_jax.devices.mesh import create_mesh
from harmony_jax.training import setup
from harmony_jax.training.averaging import exchanged
from harmony_jax.training.saving import Saving
from harmony_jax.weights.checkpoint import Checkpoints
from harmony_jax.weights.steps import FOLDER
from tests.made_data import Numbers, tiny_config
from tests.training.made_model import MadeModel, advanced, leaves


@pytest.fixture
def training(monkeypatch):
    """Of a model that compiles in a second, with an average, on a state divided over devices."""
    monkeypatch.setattr(setup, "build_model", lambda _: MadeModel())
    monkeypatch.setattr("harmony_jax.devices.mesh._MIN_SHARDED_SIZE", 1)
    config = tiny_config()
    config.train.ema_decay = 0.3
    return setup.set_up(config, create_mesh(2, shards=2), 100)


def test_it_averages_what_the_steps_make_and_forgets_the_beginning_soon(training):
    states, _ = advanced(training, training.begin(), 1, 5)
    averages = [exchanged(state.variables, state.optimizer)[0].params for state in states]
    trees = training.layout.trees
    params = jax.tree.leaves(trees.variables.params)
    average = jax.tree.leaves(exchanged(trees.variables, trees.optimizer)[0].params)
    assert [leaf.sharding for leaf in average] == [leaf.sharding for leaf in params]
    assert not all(leaf.sharding.is_fully_replicated for leaf in average)
    for begun, first in zip(leaves(averages[0]), leaves(states[0].variables.params), strict=True):
        np.testing.assert_array_equal(begun, first)
    for number in range(5):
        kept = min(0.3, (1 + number) / (10 + number))
        old, found = leaves(averages[number]), leaves(averages[number + 1])
        new = leaves(states[number + 1].variables.params)
        for before, made, after in zip(old, new, found, strict=True):
            np.testing.assert_allclose(after, kept * before + (1 - kept) * made, rtol=1e-5)


def test_a_checkpoints_model_is_the_average_and_training_continues_to_the_same_bits(
    training, tmp_path
):
    states, _ = advanced(training, training.begin(), 1, 4)
    saving = Saving(training, Numbers().select([]), tmp_path)
    saving.save(states[2])
    saving.close()
    checkpoints = Checkpoints(tmp_path / FOLDER)
    model = checkpoints.model(2, training.layout.trees.variables)  # as inference reads it
    checkpoints.close()
    shown = training.variables_to_show(states[2])
    for found, expected in zip(leaves(model), leaves(shown), strict=True):
        np.testing.assert_array_equal(found, expected)
    raw = leaves(training.layout.as_trees(states[2]).variables.params)
    assert not all(map(np.array_equal, leaves(model.params), raw))
    saving = Saving(training, Numbers().select([]), tmp_path)
    resumed = saving.resume()
    saving.close()
    again, _ = advanced(training, resumed, 3, 4)
    for found, expected in zip(leaves(again[-1]), leaves(states[4]), strict=True):
        np.testing.assert_array_equal(found, expected)
