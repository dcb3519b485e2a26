"""One step of training: its state, and the compiled function from state and batch to state."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh

from harmony_jax.devices import mesh as meshes
from harmony_jax.losses import LossFunction
from harmony_jax.models.channel_padding import padded_parts
from harmony_jax.models.platform_forms import forms_for
from harmony_jax.normalization import network_inputs
from harmony_jax.training.compiler_options import CautiousStep
from harmony_jax.training.freezing import frozen_stopped
from harmony_jax.training.layout import Layout, TrainState, shardings_of
from harmony_jax.training.optimizer import treatment
from harmony_jax.variables import Variables, split

Batch = Mapping[str, jax.Array]


class StepOptions(NamedTuple):
    """How a step is computed.

    Attributes:
        seed: of dropout, whose masks depend on it and on the step alone.
        parts: the batch is computed in so many parts, one after the other; their gradients are
            averaged, and batch statistics are those of each part.
        recompute: keep the convolutions' results alone for the backward pass, and compute the
            rest again; less memory, a little more arithmetic.
        frozen: patterns of parameters that get no gradient (`freezing`).
        compiler: options that the compiler takes (`compiler_options`).
    """

    seed: int = 0
    parts: int = 1
    recompute: bool = False
    frozen: tuple[str, ...] = ()
    compiler: Mapping[str, str] = MappingProxyType({})


_DEFAULTS = StepOptions()


# State (donated) and batch to state and scalars.
TrainStep = jax.stages.Wrapped | CautiousStep


def create_state(
    model: nnx.Module,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    frozen: Sequence[str] = (),
) -> tuple[Layout, TrainState]:
    """Splits a model into its structure and the state that training changes, on the mesh.

    The model keeps arrays of its own: steps donate the state.

    Args:
        model: with the same values in every process, not on the mesh yet.
        optimizer: whose state is made where it will live.
        mesh: of all processes.
        frozen: patterns of parameters that the optimizer leaves as they are.
    """
    layout = state_layout(model, optimizer, mesh, frozen)
    _, variables = split(model)
    placed = meshes.place(variables, meshes.state_shardings(variables, mesh))
    start = jax.jit(optimizer.init, out_shardings=shardings_of(layout.trees.optimizer))
    return layout, layout.as_vectors(state_at(0, placed, start(placed.params), mesh))


def state_layout(
    model: nnx.Module,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    frozen: Sequence[str] = (),
) -> Layout:
    """How the state of a model, concrete or abstract (`nnx.eval_shape`), is held."""
    graph, variables = split(model)
    padding = padded_parts(model)
    return Layout(graph, variables, optimizer, mesh, lambda name: treatment(name, frozen), padding)


def state_at(step: int, variables: Variables, optimizer_state: Any, mesh: Mesh) -> TrainState:
    """The state after so many steps, as trees, from arrays that are on the mesh already."""
    done, halted = meshes.place((np.int32(step), np.int32(0)), meshes.replicated(mesh))
    return TrainState(done, halted, variables, optimizer_state)


def make_train_step(
    layout: Layout,
    loss_function: LossFunction,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    options: StepOptions = _DEFAULTS,
) -> TrainStep:
    """Makes the jitted step: forward, backward, update.

    Args:
        layout: of the state.
        loss_function: prediction, target and mask to one loss an image.
        optimizer: of the parameters.
        mesh: batches come sharded over it, the state as the layout says.
        options: how it is computed.

    Returns:
        A jitted function of state (donated, as vectors) and batch (`network_inputs`) to the new
        state and the scalars `loss`, `gradient_norm` (of those that learn, before clipping),
        `parameter_norm` (before the step), `update_norm` (of what the step adds to them) and
        `halted`.
    """

    seed, parts, recompute, frozen, compiler = options

    def loss(params: nnx.State, batch_stats: nnx.State, key: jax.Array, batch: Batch) -> Any:
        model = nnx.merge(layout.graph, frozen_stopped(params, frozen), batch_stats, copy=True)
        image, mask, target = network_inputs(batch)
        prediction = model(image, mask, rngs=nnx.Rngs(dropout=key)).image
        return loss_function(prediction, target, mask).mean(), nnx.state(model, nnx.BatchStat)

    if recompute:
        loss = jax.checkpoint(loss, policy=_is_convolution)
    gradients_of = jax.value_and_grad(loss, has_aux=True)

    def gradients_in_parts(
        params: nnx.State, batch_stats: nnx.State, key: jax.Array, batch: Batch
    ) -> Any:
        def one_part(carried: Any, part: tuple[jax.Array, Batch]) -> Any:
            value, batch_stats, gradients = carried
            number, part_batch = part
            (part_value, batch_stats), part_gradients = gradients_of(
                params, batch_stats, jax.random.fold_in(key, number), part_batch
            )
            gradients = jax.tree.map(
                lambda total, new: total + new / parts, gradients, part_gradients
            )
            return (value + part_value / parts, batch_stats, gradients), None

        divided = {name: _divide(array, parts, mesh) for name, array in batch.items()}
        start = jnp.zeros(()), batch_stats, jax.tree.map(jnp.zeros_like, params)
        (value, batch_stats, gradients), _ = jax.lax.scan(
            one_part, start, (jnp.arange(parts), divided)
        )
        return (value, batch_stats), gradients

    def train_step(state: TrainState, batch: Batch) -> Any:
        with forms_for(list(mesh.devices.flat)):
            return step_traced(state, batch)

    def step_traced(state: TrainState, batch: Batch) -> Any:
        params, batch_stats = state.variables
        places = layout.params.shardings
        whole = jax.lax.with_sharding_constraint(params, meshes.replicated(mesh))
        if meshes.divides_state(mesh):  # gathered once: without the barrier, before each use
            whole = jax.lax.optimization_barrier(whole)
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        compute = gradients_of if parts == 1 else gradients_in_parts
        (value, new_stats), gradients = compute(
            layout.params.separate(whole), layout.batch_stats.separate(batch_stats), key, batch
        )
        # First whole, then divided: said at once, the compiler would divide the backward pass's
        # convolutions by channels, and exchange activations. It turns the two into one operation.
        gradients = jax.lax.with_sharding_constraint(gradients, meshes.replicated(mesh))
        gradients = jax.lax.with_sharding_constraint(layout.params.join(gradients), places)
        norm = optax.tree.norm(gradients)
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, params)
        new_params = optax.apply_updates(params, updates)
        new = Variables(new_params, layout.batch_stats.join(new_stats)), optimizer_state
        finite = jnp.isfinite(value) & jnp.isfinite(norm)
        halted = jnp.where((state.halted == 0) & ~finite, state.step + 1, state.halted)
        going = halted == 0
        variables, optimizer_state = jax.tree.map(
            lambda new, old: jnp.where(going, new, old), new, (state.variables, state.optimizer)
        )
        metrics = {
            "loss": value,
            "gradient_norm": norm,
            "parameter_norm": optax.tree.norm(whole),  # needs no word from other devices
            "update_norm": optax.tree.norm(updates),
            "halted": halted,
        }
        step = state.step + going.astype(jnp.int32)
        return TrainState(step, halted, variables, optimizer_state), metrics

    shardings = shardings_of(layout.vectors)

    def jitted(compiler_options: dict[str, str]) -> jax.stages.Wrapped:
        return jax.jit(
            train_step,
            in_shardings=(shardings, meshes.sharded(mesh)),
            out_shardings=(shardings, meshes.replicated(mesh)),
            donate_argnums=0,
            compiler_options=compiler_options or None,
        )

    return CautiousStep(jitted, compiler) if compiler else jitted({})


def _divide(array: jax.Array, parts: int, mesh: Mesh) -> jax.Array:
    """[batch, ...] to [parts, batch / parts, ...], every device keeping its own images."""
    rows = array.reshape(-1, parts, *array.shape[1:])
    return jax.lax.with_sharding_constraint(jnp.moveaxis(rows, 1, 0), meshes.parts_sharded(mesh))


def _is_convolution(primitive: Any, *_: Any, **__: Any) -> bool:
    """The checkpoint policy: what takes long to compute is kept, what takes memory is not."""
    return primitive.name in ("conv_general_dilated", "dot_general")
