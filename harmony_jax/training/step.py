"""One step of training: the compiled function from state and batch to the new state."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh

from harmony_jax.devices import mesh as meshes
from harmony_jax.losses import LossFunction
from harmony_jax.models.platform_forms import forms_for
from harmony_jax.normalization import network_inputs
from harmony_jax.training.compiler_options import CautiousStep
from harmony_jax.training.freezing import is_frozen, map_named
from harmony_jax.training.layout import Layout, TrainState, shardings_of
from harmony_jax.variables import Variables

Batch = Mapping[str, jax.Array]


class StepParts(NamedTuple):
    """What a step is made of, and how it is computed.

    Attributes:
        layout: of the state that the step takes and returns.
        loss_function: prediction, target and mask to one loss per image.
        optimizer: of the parameters.
        mesh: batches come sharded over it.
        seed: of dropout, whose masks depend on it and on the step alone.
        parts: the batch is computed in this many parts, one after the other. Their gradients are
            averaged, and each part has batch statistics of its own.
        recompute: keep only the results of convolutions for the backward pass and compute the rest
            again: less memory, a little more arithmetic.
        frozen: patterns of parameters that get no gradient (`freezing`).
        compiler: options that the compiler takes (`compiler_options`).
    """

    layout: Layout
    loss_function: LossFunction
    optimizer: optax.GradientTransformation
    mesh: Mesh
    seed: int = 0
    parts: int = 1
    recompute: bool = False
    frozen: tuple[str, ...] = ()
    compiler: Mapping[str, str] = MappingProxyType({})


# From state (donated) and batch to state and scalars.
TrainStep = jax.stages.Wrapped | CautiousStep


def make_train_step(made: StepParts) -> TrainStep:
    """Makes the jitted step: forward, backward, update.

    Returns:
        A jitted function of state (donated, as vectors) and batch (`network_inputs`) to the new
        state and the scalars `loss`, `gradient_norm` (of those that learn, before clipping),
        `parameter_norm` (before the step), `update_norm` (of what the step adds to them) and
        `halted`.
    """
    mesh, shardings = made.mesh, shardings_of(made.layout.vectors)

    def train_step(state: TrainState, batch: Batch) -> Any:
        with forms_for(list(mesh.devices.flat)):
            return _advance(made, state, batch)

    def jitted(compiler_options: Mapping[str, str]) -> jax.stages.Wrapped:
        return jax.jit(
            train_step,
            in_shardings=(shardings, meshes.sharded(mesh)),
            out_shardings=(shardings, meshes.replicated(mesh)),
            donate_argnums=0,
            compiler_options=dict(compiler_options) or None,
        )

    return CautiousStep(jitted, made.compiler) if made.compiler else jitted({})


def _advance(made: StepParts, state: TrainState, batch: Batch) -> tuple[TrainState, Any]:
    layout, mesh = made.layout, made.mesh
    params, batch_stats = state.variables
    whole = jax.lax.with_sharding_constraint(params, meshes.replicated(mesh))
    if meshes.divides_state(mesh):  # gathered once: without the barrier, before each use
        whole = jax.lax.optimization_barrier(whole)
    (loss, new_stats), gradients = _gradients(
        made,
        layout.params.separate(whole),
        layout.batch_stats.separate(batch_stats),
        jax.random.fold_in(jax.random.key(made.seed), state.step),
        batch,
    )
    # First whole, then divided, which the compiler turns into one operation. Asked to divide them
    # at once, it would divide the convolutions of the backward pass by channels and exchange
    # activations.
    gradients = jax.lax.with_sharding_constraint(gradients, meshes.replicated(mesh))
    gradients = jax.lax.with_sharding_constraint(
        layout.params.join(gradients), shardings_of(layout.vectors.variables.params)
    )
    norm = optax.tree.norm(gradients)
    updates, optimizer_state = made.optimizer.update(gradients, state.optimizer, params)
    variables = Variables(optax.apply_updates(params, updates), layout.batch_stats.join(new_stats))
    finite = jnp.isfinite(loss) & jnp.isfinite(norm)
    halted = jnp.where((state.halted == 0) & ~finite, state.step + 1, state.halted)
    going = halted == 0
    variables, optimizer_state = jax.tree.map(
        lambda new, old: jnp.where(going, new, old),
        (variables, optimizer_state),
        (state.variables, state.optimizer),
    )
    metrics = {
        "loss": loss,
        "gradient_norm": norm,
        "parameter_norm": optax.tree.norm(whole),  # of the whole: needs no collective
        "update_norm": optax.tree.norm(updates),
        "halted": halted,
    }
    step = state.step + going.astype(jnp.int32)
    return TrainState(step, halted, variables, optimizer_state), metrics


def _loss(
    made: StepParts, params: nnx.State, batch_stats: nnx.State, key: jax.Array, batch: Batch
) -> tuple[jax.Array, nnx.State]:
    """The batch's mean loss, and the new running statistics."""
    # The gradient of what is frozen is never computed.
    stop = jax.lax.stop_gradient
    params = map_named(lambda name, x: stop(x) if is_frozen(name, made.frozen) else x, params)
    model = nnx.merge(made.layout.graph, params, batch_stats, copy=True)
    image, mask, target = network_inputs(batch)
    prediction = model(image, mask, rngs=nnx.Rngs(dropout=key)).image
    loss = made.loss_function(prediction, target, mask).mean()
    return loss, nnx.state(model, nnx.BatchStat)


def _gradients(
    made: StepParts, params: nnx.State, batch_stats: nnx.State, key: jax.Array, batch: Batch
) -> tuple[tuple[jax.Array, nnx.State], nnx.State]:
    """Loss, new running statistics and gradients of a batch, computed in one part or several."""
    parts = made.parts
    loss: Callable[..., Any] = partial(_loss, made)
    if made.recompute:
        loss = jax.checkpoint(loss, policy=_is_convolution)
    gradients_of = jax.value_and_grad(loss, has_aux=True)
    if parts == 1:
        return gradients_of(params, batch_stats, key, batch)

    def add_part(carried: Any, part: tuple[jax.Array, Batch]) -> Any:
        loss, batch_stats, gradients = carried
        number, part_batch = part
        (part_loss, batch_stats), part_gradients = gradients_of(
            params, batch_stats, jax.random.fold_in(key, number), part_batch
        )
        gradients = jax.tree.map(lambda total, new: total + new / parts, gradients, part_gradients)
        return (loss + part_loss / parts, batch_stats, gradients), None

    divided = {name: _divide(array, parts, made.mesh) for name, array in batch.items()}
    start = jnp.zeros(()), batch_stats, jax.tree.map(jnp.zeros_like, params)
    (value, batch_stats, gradients), _ = jax.lax.scan(add_part, start, (jnp.arange(parts), divided))
    return (value, batch_stats), gradients


def _divide(array: jax.Array, parts: int, mesh: Mesh) -> jax.Array:
    """[batch, ...] to [parts, batch / parts, ...], every device keeping its own images."""
    rows = array.reshape(-1, parts, *array.shape[1:])
    return jax.lax.with_sharding_constraint(jnp.moveaxis(rows, 1, 0), meshes.parts_sharded(mesh))


def _is_convolution(primitive: Any, *_: Any, **__: Any) -> bool:
    """The checkpoint policy: results that take long to compute are kept."""
    return primitive.name in ("conv_general_dilated", "dot_general")
