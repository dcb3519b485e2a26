"""Keeps XLA:CPU from computing a value again in each place that uses it."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from harmony_jax.models.platform_forms import by_platform


@jax.custom_vjp
def materialize(x: Float[Array, "*shape"], counter: Int[Array, ""]) -> Float[Array, "*shape"]:
    """Returns `x`; on a CPU it is computed once and kept.

    XLA:CPU fuses cheap producers into every consumer. Along residual connections that goes back
    to the first block: each use of a block's output added up all blocks before it again, a
    quarter of the training step of HRNet. An `optimization_barrier` is removed before fusion. A
    loop is not fused; that this one never runs is known to the counter, not to the compiler.

    Args:
        x: value used by several others.
        counter: any number that is not negative and that the compiler cannot know, such as
            `BatchNorm.num_batches_tracked`.
    """
    return _kept(x, counter)


def _kept(x: Array, counter: Array) -> Array:
    return by_platform(x, counter, cpu=_behind_a_loop, default=lambda x, counter: x)


def _behind_a_loop(x: Array, counter: Array) -> Array:
    trips = jnp.where(counter < 0, 1, 0)
    return lax.fori_loop(0, trips, lambda _, x: x + 1, x)


materialize.defvjp(
    lambda x, counter: (_kept(x, counter), None), lambda _, gradient: (gradient, None)
)
