import jax.numpy as jnp
import numpy as np

from configs import base
from harmony_jax.training.optimizer import create_optimizer, learning_rate_schedule


def test_rates_drop_after_the_milestone_epochs():
    section = base.get_config().optimizer
    schedule = learning_rate_schedule(section, steps_per_epoch=2.5)
    rates = [float(schedule(step)) for step in (0, 399, 400, 437, 438, 1000)]
    np.testing.assert_allclose(rates, [1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5], rtol=1e-5)


def test_first_step_is_adams():
    """Bias correction makes the first step the rate times the gradient's sign."""
    section = base.get_config().optimizer
    optimizer = create_optimizer(section, learning_rate_schedule(section, 10.0))
    parameters = {"a": jnp.zeros(3)}
    gradients = {"a": jnp.array([5.0, -0.1, 0.0])}
    updates, _ = optimizer.update(gradients, optimizer.init(parameters), parameters)
    np.testing.assert_allclose(updates["a"], [-1e-3, 1e-3, 0.0], rtol=1e-4)
