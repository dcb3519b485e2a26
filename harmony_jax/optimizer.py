"""The optimizer and its schedule."""

import optax


def learning_rate_schedule(optimizer, steps_per_epoch: float) -> optax.Schedule:
    """Constant rate, multiplied by `optimizer.decay` after each milestone.

    Args:
        optimizer: the config's `optimizer` section (configs/base.py); milestones in epochs.
        steps_per_epoch: need not be whole: epochs follow one another without a gap.
    """
    drops = {round(epoch * steps_per_epoch): optimizer.decay for epoch in optimizer.milestones}
    return optax.piecewise_constant_schedule(optimizer.learning_rate, drops)


def create_optimizer(optimizer, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Adam with the config's constants (paper, section 4.2)."""
    return optax.adam(schedule, b1=optimizer.b1, b2=optimizer.b2, eps=optimizer.eps)
