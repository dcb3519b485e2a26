"""Types and precision inside a model.

Activations between layers and the operands of convolutions have the compute type. Everything else
is computed in float32 and rounded once, at the end: in bfloat16, a chain of steps that each round
would lose several of its 8 binary digits. XLA fuses the casts into loops that exist anyway.
"""

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from harmony_jax.errors import InputError

Precision = lax.Precision | None

# None leaves the choice to JAX (`jax_default_matmul_precision`), and so to the accelerator.
PRECISIONS: dict[str, Precision] = {
    "default": None,
    "high": lax.Precision.HIGH,
    "highest": lax.Precision.HIGHEST,
}

EXACT = lax.Precision.HIGHEST


def precision_of(name: str) -> Precision:
    """How float32 products are computed, by its name in configs."""
    if name not in PRECISIONS:
        raise InputError(f"precision {name!r}: choose {', '.join(PRECISIONS)}")
    return PRECISIONS[name]


def set_precision(model: nnx.Module, name: str) -> None:
    """Sets, in place, the precision of all layers of a model."""
    model.set_attributes(precision=precision_of(name), raise_if_not_found=False)


def widen(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The values as float32, or unchanged if their type is wider."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
