"""A moving average of the parameters, for inference (`train.ema_decay`).

The optimizer's state holds it, so that it begins, is divided over devices, halts and is saved as
the moments are.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from harmony_jax.errors import InputError
from harmony_jax.variables import Variables


class ParameterAverage(NamedTuple):
    """In the optimizer's state.

    Attributes:
        steps: averaged so far.
        params: the average, as the parameters; in a checkpoint the parameters themselves
            (`exchanged`).
    """

    steps: jax.Array
    params: Any


def with_average(
    optimizer: optax.GradientTransformation, decay: float
) -> optax.GradientTransformation:
    """The optimizer, and the average of the parameters that it makes.

    After each step the average keeps `decay` of itself, and less in the beginning, (1 + n) / (10 +
    n) after n steps, so that the initial weights are soon forgotten (TensorFlow's
    `ExponentialMovingAverage` with `num_updates`).

    Args:
        optimizer: the last to change the updates.
        decay: `train.ema_decay`; 0: no average, and the optimizer is returned as it is.

    Raises:
        InputError: a decay that cannot be.
    """
    if not 0 <= decay < 1:
        raise InputError(f"train.ema_decay {decay}: must be from 0 (none) to less than 1")
    if not decay:
        return optimizer

    def init(params: Any) -> ParameterAverage:
        # Copies: steps donate both.
        return ParameterAverage(jnp.zeros((), jnp.int32), jax.tree.map(jnp.copy, params))

    def update(updates: Any, state: ParameterAverage, params: Any) -> tuple[Any, ParameterAverage]:
        kept = jnp.minimum(decay, (1 + state.steps) / (10 + state.steps))
        # Written so that the average of what stays is exactly that.
        average = jax.tree.map(
            lambda old, new: old + (1 - kept) * (new - old),
            state.params,
            optax.apply_updates(params, updates),
        )
        return updates, ParameterAverage(state.steps + 1, average)

    return optax.chain(optimizer, optax.GradientTransformation(init, update))


def exchanged(variables: Variables, optimizer_state: Any) -> tuple[Variables, Any]:
    """Lets the parameters and their average change places; its own inverse.

    This is how checkpoints hold them: whoever reads a model gets the average without knowing.
    Without an average, all stays as it is. Running statistics are no part of it: they are averages
    already, and stay those of the parameters' own last steps (so does PyTorch's `AveragedModel`).

    Returns:
        Variables with the average, and the optimizer's state with the parameters.
    """

    def is_average(node: Any) -> bool:
        return isinstance(node, ParameterAverage)

    found = [n for n in jax.tree.leaves(optimizer_state, is_leaf=is_average) if is_average(n)]
    if not found:
        return variables, optimizer_state
    (average,) = found
    swapped = jax.tree.map(
        lambda node: node._replace(params=variables.params) if is_average(node) else node,
        optimizer_state,
        is_leaf=is_average,
    )
    return variables._replace(params=average.params), swapped
