"""What one step computes, in all the forms that it may have."""

import jax
import numpy as np
import pytest

from harmony_jax.devices.mesh import create_mesh
from harmony_jax.training.setup import set_up
from tests.made_data import tiny_config
from tests.training.made_model import assert_compiled_once, batch_of


def losses(shards: int = 1, **fields) -> list[float]:
    config = tiny_config()
    config.train.batch_size = 8
    config.train.update(fields)
    training = set_up(config, create_mesh(2, shards), 800)
    state, found = training.begin(), []
    for number in range(4):
        state, metrics = training.step(state, batch_of(config, number))
        found.append(float(metrics["loss"]))
    assert_compiled_once(training.step)
    return found


@pytest.fixture(scope="module")
def plain() -> list[float]:
    return losses()


@pytest.mark.parametrize("form", [{"shards": 2}, {"recompute": True}])
def test_a_divided_state_and_recomputing_train_the_same(form, plain):
    np.testing.assert_allclose(losses(**form), plain, rtol=1e-4)


def test_a_batch_in_parts_trains_nearly_the_same(plain):
    """Not exactly: batch statistics are those of a part."""
    found = losses(accumulate=2)
    np.testing.assert_allclose(found, plain, rtol=0.2)
    assert found != plain


def test_the_gradient_of_two_equal_parts_is_that_of_one():
    config = tiny_config()
    batch = batch_of(config)
    norms = []
    for parts in (1, 2):
        config.train.accumulate, config.train.batch_size = parts, 4 * parts
        training = set_up(config, create_mesh(1), 800)
        repeated = {key: np.repeat(value, parts, axis=0) for key, value in batch.items()}
        _, metrics = training.step(training.begin(), repeated)
        norms.append(float(metrics["gradient_norm"]))
    np.testing.assert_allclose(norms[1], norms[0], rtol=1e-4)


def test_nothing_changes_after_a_step_that_is_not_finite():
    config = tiny_config()
    training = set_up(config, create_mesh(), 100)
    state = training.begin()
    before = jax.device_get(state.variables)
    bad = {key: value.astype(np.float32) for key, value in batch_of(config).items()}
    bad["real"][0, 0, 0, 0] = np.nan
    for batch in (bad, bad, batch_of(config)):
        state, metrics = training.step(state, batch)
        assert int(metrics["halted"]) == 1
    assert jax.tree.all(jax.tree.map(np.array_equal, jax.device_get(state.variables), before))
    assert int(state.step) == 0
