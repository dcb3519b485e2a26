"""The moving average of the parameters: what it is, and that inference has it."""

import jax
import numpy as np
import pytest
from flax import nnx

from harmony_jax.devices.mesh import create_mesh
from harmony_jax.training import setup
from harmony_jax.training.averaging import exchanged
from harmony_jax.weights.checkpoint import Checkpoints
from tests.made_data import tiny_config
from tests.training.made_model import MadeModel
from tests.training.test_loop import batch_of


@pytest.fixture
def training(monkeypatch):
    """Of a model that compiles in a second, with an average, on a state divided over devices."""
    monkeypatch.setattr(setup, "build_model", lambda _: MadeModel())
    monkeypatch.setattr("harmony_jax.devices.mesh._MIN_SHARDED_SIZE", 1)
    config = tiny_config()
    config.train.ema_decay = 0.3
    return setup.set_up(config, create_mesh(2, shards=2), 100)


def advanced(training, state, first: int, last: int) -> list:
    """The states after steps `first` to `last`, the one before included."""
    states = [state]
    for number in range(first, last + 1):
        # Steps donate their state.
        state = jax.tree.map(lambda leaf: leaf.copy(), states[-1])
        states.append(training.step(state, batch_of(training.config, number))[0])
    assert training.step._cache_size() == 1
    return states


def leaves(tree) -> list[np.ndarray]:
    return jax.tree.leaves(jax.device_get(tree))


def test_it_averages_what_the_steps_make_and_forgets_the_beginning_soon(training):
    states = advanced(training, training.begin(), 1, 5)
    averages = [exchanged(state.variables, state.optimizer)[0].params for state in states]
    for begun, first in zip(leaves(averages[0]), leaves(states[0].variables.params), strict=True):
        np.testing.assert_array_equal(begun, first)
    for number in range(5):
        kept = min(0.3, (1 + number) / (10 + number))
        old, found = leaves(averages[number]), leaves(averages[number + 1])
        new = leaves(states[number + 1].variables.params)
        for before, made, after in zip(old, new, found, strict=True):
            np.testing.assert_allclose(after, kept * before + (1 - kept) * made, rtol=1e-5)


def test_it_is_divided_over_the_devices_as_the_parameters_are(training):
    trees = training.layout.trees
    params = trees.variables.params
    average = exchanged(trees.variables, trees.optimizer)[0].params
    found = [leaf.sharding for leaf in jax.tree.leaves(average)]
    assert found == [leaf.sharding for leaf in jax.tree.leaves(params)]
    assert not all(sharding.is_fully_replicated for sharding in found)


def test_a_checkpoints_model_is_the_average_and_training_continues_to_the_same_bits(
    training, tmp_path
):
    states = advanced(training, training.begin(), 1, 4)
    checkpoints = Checkpoints(tmp_path, keep_newest=1)
    training.save(checkpoints, states[2], {"model": {}})
    checkpoints.close()
    checkpoints = Checkpoints(tmp_path)
    model = checkpoints.model(2, training.layout.trees.variables)  # as inference reads it
    shown = training.variables_to_show(states[2])
    for found, expected in zip(leaves(model), leaves(shown), strict=True):
        np.testing.assert_array_equal(found, expected)
    raw = leaves(training.layout.as_trees(states[2]).variables.params)
    assert not all(map(np.array_equal, leaves(model.params), raw))
    resumed = training.resume(checkpoints, lambda folder, metadata: None)
    checkpoints.close()
    again = advanced(training, resumed, 3, 4)[-1]
    for found, expected in zip(leaves(again), leaves(states[4]), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_without_one_all_stays_as_it_was():
    training = setup.set_up(tiny_config(), create_mesh(1), 100)
    trees = training.layout.trees
    variables, optimizer = exchanged(trees.variables, trees.optimizer)
    assert variables is trees.variables
    assert optimizer is trees.optimizer
    assert isinstance(variables.params, nnx.State)
