"""Keeps XLA:CPU from computing a value again in each place that uses it."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from harmony_jax.models.platform_forms import by_platform


@jax.custom_vjp
def materialize(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Returns `x`, used by several others; on a CPU it is computed once and kept.

    XLA:CPU fuses cheap producers into every consumer. Along residual connections that goes back
    to the first block: each use of a block's output added up all blocks before it again, a
    quarter of the training step of HRNet. An `optimization_barrier` around `x` is removed before
    fusion. A loop is not fused, and this one never runs: the count of its trips is behind a
    barrier while loops are simplified.
    """
    return _kept(x)


def _kept(x: Array) -> Array:
    return by_platform(x, cpu=_behind_a_loop, default=lambda x: x)


def _behind_a_loop(x: Array) -> Array:
    trips = lax.optimization_barrier(jnp.int32(0))
    return lax.fori_loop(0, trips, lambda _, x: x + 1, x)


materialize.defvjp(lambda x: (_kept(x), None), lambda _, gradient: (gradient,))
