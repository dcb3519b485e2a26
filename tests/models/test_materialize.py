import jax
import jax.numpy as jnp

from harmony_jax.models.materialize import materialize


def test_compiled_for_a_cpu_each_block_is_computed_once():
    """Without it, XLA goes back to the first of the residual blocks for each use of the last."""

    def num_maxima(keep):
        def blocks(x, weights):
            uses = []
            for weight in weights:
                x = jax.nn.relu(x + x @ weight)
                x = materialize(x) if keep else x
                uses.append(x[::-1] @ weight)
            return uses

        arrays = jnp.ones((64, 64)), jnp.ones((6, 64, 64))
        return jax.jit(blocks).lower(*arrays).compile().as_text().count(" maximum(")

    assert num_maxima(keep=True) == 6 < num_maxima(keep=False)
