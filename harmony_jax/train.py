"""Training: load, step, evaluate, save."""

import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from harmony_jax import mesh as meshes
from harmony_jax.checkpoint import FOLDER, Checkpoints, Metadata, saved_steps, with_sharding
from harmony_jax.data.pipeline import open_split, training_batches
from harmony_jax.data.sources import Source
from harmony_jax.errors import InputError
from harmony_jax.evaluate import Evaluator, evaluate_workdir, evaluated_source
from harmony_jax.experiment import (
    LossFunction,
    build_loss,
    build_model,
    check_numbers,
    initialize_backbone,
    model_arguments,
)
from harmony_jax.normalization import network_inputs
from harmony_jax.optimizer import create_optimizer, learning_rate_schedule
from harmony_jax.progress import Progress
from harmony_jax.variables import Variables, split

Batch = Mapping[str, jax.Array]

_LOGGER = logging.getLogger(__name__)


class TrainState(NamedTuple):
    """All that a step changes."""

    step: jax.Array
    variables: Variables
    optimizer: optax.OptState


def train(config: ConfigDict, workdir: Path) -> None:
    """Trains the config's model, from where the workdir's newest checkpoint left off.

    Writes checkpoints and TensorBoard files into the workdir, and at the end the evaluation of
    the result (see `evaluate_workdir`). A finished workdir is left as it is.

    Raises:
        InputError: config, data or the workdir's checkpoints do not fit.
    """
    check_numbers(config)
    mesh = meshes.create_mesh()
    meshes.check_batch_size("train.batch_size", config.train.batch_size, mesh)
    source, validated = open_split(config.data, "train"), open_split(config.data, "validation")
    evaluated = evaluated_source(config)  # opened now: a missing file should not wait for the end
    metadata = _metadata(config, source)
    steps_per_epoch = len(source) / config.train.batch_size
    total_steps = math.floor(config.train.epochs * steps_per_epoch)
    schedule = learning_rate_schedule(config.optimizer, steps_per_epoch)
    optimizer = create_optimizer(config.optimizer, schedule)

    model = build_model(config)
    if not saved_steps(workdir / FOLDER):
        initialize_backbone(model, config.init.backbone)
    graph, state = create_state(model, optimizer, mesh)
    _make_folder(workdir)
    checkpoints = Checkpoints(workdir / FOLDER, config.checkpoint.keep_newest)
    state = _resume(checkpoints, state, metadata, mesh)
    start_step = int(state.step)
    if start_step >= total_steps:
        _LOGGER.info("%s: training is finished (step %d of %d)", workdir, start_step, total_steps)
    train_step = make_train_step(graph, build_loss(config), optimizer, mesh, config.seed)
    evaluator = Evaluator(model, config, mesh)
    batches = training_batches(
        source,
        image_size=config.data.image_size,
        batch_size=config.train.batch_size,
        seed=config.seed,
        start_step=start_step,
        num_workers=config.data.num_workers,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    evaluated_after = _epoch_ends(config.evaluation.every_epochs, steps_per_epoch, total_steps)
    saved_after = {total_steps} | evaluated_after
    saved_after |= _epoch_ends(config.checkpoint.every_epochs, steps_per_epoch, total_steps)
    progress = Progress(workdir, start_step, total_steps, config, schedule)
    device_batches = meshes.to_devices(batches, mesh)
    for step in range(start_step + 1, total_steps + 1):
        state, metrics = train_step(state, next(device_batches))
        progress.after_step(step, metrics)
        if step in saved_after:
            validation = None
            if step in evaluated_after:
                with progress.paused(metrics):
                    # Without a validation set the evaluated one gives the curves; it must not
                    # choose the checkpoint that it will be evaluated on.
                    result = evaluator.evaluate(state.variables, validated or evaluated)
                    progress.after_evaluation(step, result)
                validation = result.model["All"] if validated else None
            checkpoints.save(step, state.variables, state.optimizer, metadata, validation)
    device_batches.close()
    batches.close()
    checkpoints.close()
    progress.close()
    if start_step < total_steps or not list(workdir.glob("evaluation*.json")):
        evaluate_workdir(config, workdir)


def create_state(
    model: nnx.Module, optimizer: optax.GradientTransformation, mesh: Mesh
) -> tuple[nnx.GraphDef, TrainState]:
    """Splits a model into its structure and the state that training changes, on the mesh."""
    graph, variables = split(model)
    state = TrainState(jnp.zeros((), jnp.int32), variables, optimizer.init(variables.params))
    # A copy: steps donate the state, and the model keeps its own arrays.
    return graph, jax.device_put(jax.tree.map(jnp.copy, state), meshes.replicated(mesh))


def make_train_step(
    graph: nnx.GraphDef,
    loss_function: LossFunction,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    seed: int = 0,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """Compiles one step: forward, backward, update.

    Args:
        graph: structure of the model in training mode.
        loss_function: prediction, target and mask to one loss an image.
        optimizer: of the parameters.
        mesh: batches come sharded over it, the state replicated.
        seed: of dropout, whose masks depend on it and on the step alone.

    Returns:
        A function of state (donated) and batch (`network_inputs`) to the new state and the
        scalars `loss` and `gradient_norm`.
    """

    def loss(params: nnx.State, batch_stats: nnx.State, step: jax.Array, batch: Batch) -> Any:
        model = nnx.merge(graph, params, batch_stats, copy=True)
        image, mask, target = network_inputs(batch)
        rngs = nnx.Rngs(dropout=jax.random.fold_in(jax.random.key(seed), step))
        losses = loss_function(model(image, mask, rngs=rngs).image, target, mask)
        return losses.mean(), nnx.state(model, nnx.BatchStat)

    def train_step(state: TrainState, batch: Batch) -> Any:
        params, batch_stats = state.variables
        (value, batch_stats), gradients = jax.value_and_grad(loss, has_aux=True)(
            params, batch_stats, state.step, batch
        )
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, params)
        variables = Variables(optax.apply_updates(params, updates), batch_stats)
        metrics = {"loss": value, "gradient_norm": optax.tree.norm(gradients)}
        return TrainState(state.step + 1, variables, optimizer_state), metrics

    replicated, sharded = meshes.replicated(mesh), meshes.sharded(mesh)
    return jax.jit(
        train_step,
        in_shardings=(replicated, sharded),
        out_shardings=(replicated, replicated),
        donate_argnums=0,
    )


def _make_folder(workdir: Path) -> None:
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"workdir {workdir}: cannot be made ({error.strerror}): choose another"
        ) from error


def _resume(
    checkpoints: Checkpoints, state: TrainState, wanted: Metadata, mesh: Mesh
) -> TrainState:
    step = checkpoints.newest_step()
    if step is None:
        return state
    found = checkpoints.metadata(step)
    differing = [key for key in wanted if found.get(key) != wanted[key]]
    if differing:
        key = differing[0]
        raise InputError(
            f"{checkpoints.folder / str(step)}: holds {key} {found.get(key)}, the config asks for "
            f"{wanted[key]}: use the same config or another workdir"
        )
    abstract = with_sharding(state, meshes.replicated(mesh))
    _LOGGER.info("Continuing after step %d (%s)", step, checkpoints.folder)
    return TrainState(
        jax.device_put(jnp.asarray(step, jnp.int32), meshes.replicated(mesh)),
        checkpoints.model(step, abstract.variables),
        checkpoints.optimizer_state(step, abstract.optimizer),
    )


def _epoch_ends(every_epochs: int, steps_per_epoch: float, total_steps: int) -> set[int]:
    """Steps after which every so many epochs are full, and the last step; 0 epochs: none."""
    if every_epochs <= 0:
        return set()
    epochs = math.ceil(total_steps / (every_epochs * steps_per_epoch))
    ends = {math.floor(n * every_epochs * steps_per_epoch) for n in range(1, epochs)}
    return (ends - {0}) | {total_steps}


def _metadata(config: ConfigDict, source: Source) -> Metadata:
    """What must stay the same when training continues; inference needs the first two."""
    return {
        "model": model_arguments(config),
        "image_size": config.data.image_size,
        "training data": {
            "samples": len(source),
            "batch_size": config.train.batch_size,
            "seed": config.seed,
        },
    }
