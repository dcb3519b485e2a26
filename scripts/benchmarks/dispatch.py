"""`benchmark.py dispatch`: what a call costs the host, computation apart."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from configs import model
from harmony_jax.build import build_model
from harmony_jax.data.iharmony4 import COMPOSITES
from harmony_jax.devices.mesh import create_mesh
from harmony_jax.training.setup import abstract_batch, set_up
from harmony_jax.variables import split

_CALLS = 200


def measure(name: str) -> None:
    """Prints CPU time of a call of the training step, and of evaluation.

    A program of the same signature is called, whose arrays are single numbers that it adds 1 to,
    so that what remains is to look at the arguments and to make the results.
    """
    config = model.get_config(name)
    training = set_up(config, create_mesh(1), COMPOSITES)
    batch = abstract_batch(config, training.mesh)
    state = training.layout.vectors
    variables = split(nnx.eval_shape(lambda: build_model(config)))[1]
    for title, arguments in (
        ("training step", state),
        ("evaluation", jax.tree.leaves(variables)),
        ("evaluation with a tree", variables),
        ("training step with a tree", training.layout.trees),
    ):
        count = len(jax.tree.leaves(arguments))
        print(f"{name} {title}: {_milliseconds(arguments, batch):.2f} ms, {count} arrays")


def _milliseconds(arguments: Any, batch: Any) -> float:
    """CPU time of a call, of all threads."""
    held, given = (
        jax.tree.map(lambda leaf: jnp.zeros((), leaf.dtype), tree) for tree in (arguments, batch)
    )
    call: Callable[[Any, Any], Any] = jax.jit(
        lambda held, given: (jax.tree.map(lambda x: x + 1, held), given["mask"] + 1),
        donate_argnums=0,
    )
    for _ in range(3):
        held, result = call(held, given)
    jax.block_until_ready((held, result))
    start = time.process_time()
    for _ in range(_CALLS):
        held, result = call(held, given)
    jax.block_until_ready((held, result))
    return 1e3 * (time.process_time() - start) / _CALLS
