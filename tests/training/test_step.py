import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from harmony_jax.build import build_model
from harmony_jax.devices.mesh import create_mesh
from harmony_jax.losses import create_loss
from harmony_jax.training.optimizer import create_optimizer, learning_rate_schedule
from harmony_jax.training.step import StepOptions, create_state, make_train_step
from tests.loss_curve import assert_compiled_once
from tests.made_data import tiny_config
from tests.training.test_loop import batch_of


def losses(steps: int = 4, shards: int = 1, **options) -> list[float]:
    config = tiny_config()
    config.train.batch_size = 8
    optimizer = create_optimizer(config.optimizer, learning_rate_schedule(config, 100.0))
    mesh = create_mesh(2, shards)
    layout, state = create_state(build_model(config), optimizer, mesh)
    step = make_train_step(
        layout, create_loss(config.loss), optimizer, mesh, StepOptions(**options)
    )
    found = []
    for number in range(steps):
        state, metrics = step(state, batch_of(config, number))
        found.append(float(metrics["loss"]))
    assert_compiled_once(step)
    return found


@pytest.fixture(scope="module")
def plain() -> list[float]:
    return losses()


def test_a_step_is_compiled_once_whatever_type_the_parameters_began_with():
    class Scale(nnx.Module):
        def __init__(self):
            self.factor = nnx.Param(jnp.full(1, 2.0))  # weakly typed, as a Python number is

    assert Scale().factor.get_value().weak_type
    optimizer = create_optimizer(tiny_config().optimizer, optax.constant_schedule(0.1))
    _, state = create_state(Scale(), optimizer, create_mesh(2))
    assert not [leaf for leaf in jax.tree.leaves(state) if leaf.weak_type]


def test_a_divided_state_trains_the_same(plain):
    np.testing.assert_allclose(losses(shards=2), plain, rtol=1e-4)


def test_recomputing_trains_the_same(plain):
    np.testing.assert_allclose(losses(recompute=True), plain, rtol=1e-4)


def test_a_batch_in_parts_trains_nearly_the_same(plain):
    """Not exactly: batch statistics are those of a part."""
    found = losses(parts=2)
    np.testing.assert_allclose(found, plain, rtol=0.2)
    assert found != plain


def test_the_gradient_of_two_equal_parts_is_that_of_one():
    config = tiny_config()
    optimizer = create_optimizer(config.optimizer, learning_rate_schedule(config, 100.0))
    mesh = create_mesh(1)
    half = batch_of(config)
    norms = []
    for parts, batch in (
        (1, half),
        (2, {key: np.repeat(value, 2, axis=0) for key, value in half.items()}),
    ):
        layout, state = create_state(build_model(config), optimizer, mesh)
        step = make_train_step(
            layout, create_loss(config.loss), optimizer, mesh, StepOptions(parts=parts)
        )
        _, metrics = step(state, batch)
        norms.append(float(metrics["gradient_norm"]))
    np.testing.assert_allclose(norms[1], norms[0], rtol=1e-4)


def test_nothing_changes_after_a_step_that_is_not_finite():
    config = tiny_config()
    optimizer = create_optimizer(config.optimizer, learning_rate_schedule(config, 100.0))
    mesh = create_mesh()
    layout, state = create_state(build_model(config), optimizer, mesh)
    step = make_train_step(layout, create_loss(config.loss), optimizer, mesh)
    before = jax.device_get(state.variables)
    bad = {key: value.astype(np.float32) for key, value in batch_of(config).items()}
    bad["real"][0, 0, 0, 0] = np.nan
    for batch in (bad, bad, batch_of(config)):
        state, metrics = step(state, batch)
        assert int(metrics["halted"]) == 1
    assert jax.tree.all(jax.tree.map(np.array_equal, jax.device_get(state.variables), before))
    assert int(state.step) == 0
