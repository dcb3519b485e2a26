"""Keeps XLA:CPU from computing a value again wherever it is used."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from harmony_jax.models.platform_forms import by_platform


@jax.custom_vjp
def materialize(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Returns `x`; on a CPU it is computed once, however many values depend on it.

    XLA:CPU fuses cheap producers into every consumer. Along residual connections that reaches back
    to the first block: each use of a block's output added up all earlier blocks again, which took
    a quarter of HRNet's training step. An `optimization_barrier` around `x` is removed before
    fusion. A loop is not fused. This one never runs; the barrier hides its zero trips from XLA.
    """
    return _kept(x)


def _kept(x: Array) -> Array:
    return by_platform(x, cpu=_behind_a_loop, default=lambda x: x)


def _behind_a_loop(x: Array) -> Array:
    trips = lax.optimization_barrier(jnp.int32(0))
    return lax.fori_loop(0, trips, lambda _, x: x + 1, x)


materialize.defvjp(lambda x: (_kept(x), None), lambda _, gradient: (gradient,))
