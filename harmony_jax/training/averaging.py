"""A moving average of the parameters, for inference (`train.ema_decay`).

It is part of the optimizer's state, so it is initialised, divided over devices, halted and saved
with the moments.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from harmony_jax.variables import Variables


class ParameterAverage(NamedTuple):
    """In the optimizer's state.

    Attributes:
        steps: averaged so far.
        params: the average, with the parameters' structure; in a checkpoint the parameters
            themselves (`exchanged`).
    """

    steps: jax.Array
    params: Any


def with_average(
    optimizer: optax.GradientTransformation, decay: float
) -> optax.GradientTransformation:
    """The optimizer, which then also keeps an average of the parameters.

    After each step the average keeps `decay` of itself. At the beginning it keeps less, (1 + n) /
    (10 + n) after n steps, so that the initial weights are soon forgotten (as TensorFlow's
    `ExponentialMovingAverage` with `num_updates`).

    Args:
        optimizer: the last to change the updates.
        decay: `train.ema_decay`; 0 for no average: the optimizer is returned as it is.
    """
    if not decay:
        return optimizer

    def init(params: Any) -> ParameterAverage:
        # Copies: steps donate both.
        return ParameterAverage(jnp.zeros((), jnp.int32), jax.tree.map(jnp.copy, params))

    def update(updates: Any, state: ParameterAverage, params: Any) -> tuple[Any, ParameterAverage]:
        kept = jnp.minimum(decay, (1 + state.steps) / (10 + state.steps))
        # In this form, the average of a parameter that never changes is exactly that parameter.
        average = jax.tree.map(
            lambda old, new: old + (1 - kept) * (new - old),
            state.params,
            optax.apply_updates(params, updates),
        )
        return updates, ParameterAverage(state.steps + 1, average)

    return optax.chain(optimizer, optax.GradientTransformation(init, update))


def exchanged(variables: Variables, optimizer_state: Any) -> tuple[Variables, Any]:
    """Swaps the parameters and their average, if there is one; its own inverse.

    Checkpoints hold them swapped: whoever reads a model gets the average without knowing. Running
    statistics stay: they are averages already (PyTorch's `AveragedModel` leaves them too).

    Returns:
        Variables with the average, and the optimizer's state with the parameters.
    """

    def is_average(node: Any) -> bool:
        return isinstance(node, ParameterAverage)

    nodes, structure = jax.tree.flatten(optimizer_state, is_leaf=is_average)
    for number, node in enumerate(nodes):
        if is_average(node):
            nodes[number] = node._replace(params=variables.params)
            variables = variables._replace(params=node.params)
    return variables, jax.tree.unflatten(structure, nodes)
