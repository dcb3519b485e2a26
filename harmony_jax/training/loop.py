"""Training: load, step, evaluate, save."""

import logging
import math
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import jax
import numpy as np
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from harmony_jax import workdir as workdirs
from harmony_jax.build import build_loss, build_model, check_numbers, initialize_backbone
from harmony_jax.data.pipeline import open_split
from harmony_jax.data.sources import Source
from harmony_jax.data.training_data import TrainingData, batch_of_step, check_training_data
from harmony_jax.devices import mesh as meshes
from harmony_jax.errors import InputError, StoppedError
from harmony_jax.evaluation.evaluator import Evaluator, spread
from harmony_jax.evaluation.run import evaluate_workdir, evaluated_source
from harmony_jax.training.continuation import check_continuation, training_metadata
from harmony_jax.training.nonfinite import save_dump
from harmony_jax.training.optimizer import create_optimizer, learning_rate_schedule, learning_rates
from harmony_jax.training.overview import parameter_table
from harmony_jax.training.preemption import StopRequest
from harmony_jax.training.profiling import Trace
from harmony_jax.training.progress import TENSORBOARD, Progress
from harmony_jax.training.step import TrainState, create_state, make_train_step, with_shardings
from harmony_jax.weights.checkpoint import Checkpoints, Metadata
from harmony_jax.weights.steps import FOLDER, saved_steps

_LOGGER = logging.getLogger(__name__)


def train(config: ConfigDict, workdir: Path) -> None:
    """Trains the config's model, from where the workdir's newest checkpoint left off.

    Writes checkpoints and TensorBoard files into the workdir, and at the end the evaluation of
    the result (see `evaluate_workdir`). A finished workdir is left as it is.

    Raises:
        InputError: config, data, disk or the workdir's checkpoints do not fit.
        NonFiniteError: the loss or gradient of a step was not finite.
        StoppedError: a signal asked to stop; the state is saved.
    """
    check_numbers(config)
    mesh = meshes.create_mesh(config.mesh.devices, config.mesh.shards)
    batch_size, parts = config.train.batch_size, config.train.accumulate
    meshes.check_batch_size("train.batch_size", batch_size, mesh, parts)
    source, validated = open_split(config.data, "train"), open_split(config.data, "validation")
    check_training_data(source, config)
    evaluated = evaluated_source(config)  # opened now: a missing file should not wait for the end
    metadata = training_metadata(config, source)
    steps_per_epoch = len(source) / batch_size
    total_steps = math.floor(config.train.epochs * steps_per_epoch)
    schedule = learning_rate_schedule(config.optimizer, steps_per_epoch)
    optimizer = create_optimizer(config.optimizer, schedule)
    loss = build_loss(config)

    model = build_model(config)
    if not saved_steps(workdir / FOLDER):
        initialize_backbone(model, config.init.backbone)
    graph, state = create_state(model, optimizer, mesh)
    evaluator = Evaluator(model, config, mesh)
    train_step = make_train_step(
        graph,
        state,
        loss,
        optimizer,
        mesh,
        seed=config.seed,
        parts=parts,
        recompute=config.train.recompute,
    )
    epoch_ends = partial(_epoch_ends, steps_per_epoch=steps_per_epoch, total_steps=total_steps)
    listed_after = epoch_ends(1)
    evaluated_after = epoch_ends(config.evaluation.every_epochs)
    saved_after = epoch_ends(config.checkpoint.every_epochs) | evaluated_after | {total_steps}

    with workdirs.opened(workdir), StopRequest() as stop_request, ExitStack() as at_end:
        checkpoints = Checkpoints(
            workdir / FOLDER, config.checkpoint.keep_newest, config.checkpoint.best_metric
        )
        at_end.callback(checkpoints.close)
        state = _resume(checkpoints, state, metadata, mesh)
        start_step = int(state.step)
        if start_step >= total_steps:
            done = f"step {start_step} of {total_steps}"
            _LOGGER.info("%s: training is finished (%s)", workdir, done)
            at_end.close()
            if not _is_evaluated(workdir, start_step):
                evaluate_workdir(config, workdir)
            return
        workdirs.record(config, workdir)
        params = state.variables.params
        table = parameter_table(params, config.optimizer.backbone_rate)
        _LOGGER.info("%s on %d device(s)\n%s", config.model.name, mesh.size, table)
        rates = learning_rates(config.optimizer, params)
        progress = Progress(workdir, start_step, total_steps, config, schedule, rates)
        at_end.callback(progress.close)
        trace = Trace(workdir / TENSORBOARD, start_step + 1, config.profile)
        at_end.callback(trace.close)
        data = TrainingData(source, config, mesh, start_step)
        at_end.callback(data.close)
        metrics: dict[str, jax.Array] = {}
        for step in range(start_step + 1, total_steps + 1):
            trace.before_step(step, metrics)
            before = metrics
            state, metrics = train_step(state, data.next(before))
            jax.block_until_ready(before)  # the devices have one step in hand, and no more
            signal = stop_request.received(step)
            progress.after_step(step, metrics, data.seconds_waited)
            if step % config.train.log_every_steps == 0 or step in saved_after or signal:
                _check_finite(state, source, config, mesh, workdir, metadata, schedule)
            if step in listed_after:
                progress.after_epoch(step, data.report_unreadable())
            validation = None
            if step in evaluated_after:
                with progress.paused(metrics):
                    # Without a validation set the evaluated one gives the curves; it must not
                    # choose the checkpoint that it will be evaluated on.
                    chosen = validated or evaluated
                    shown = spread(len(chosen), config.evaluation.num_pictures)
                    result = evaluator.evaluate(state.variables, chosen, shown=shown)
                    if result.left_out:
                        raise InputError(result.left_out[0])
                    progress.after_evaluation(step, result)
                validation = result.model["All"] if validated else None
            if step in saved_after or signal:
                checkpoints.save(step, state.variables, state.optimizer, metadata, validation)
            if signal:
                at_end.close()
                raise StoppedError(
                    f"stopped after step {step} of {total_steps}, which is saved: the same "
                    "command continues",
                    signal,
                )
    evaluate_workdir(config, workdir)


def _resume(
    checkpoints: Checkpoints, state: TrainState, metadata: Metadata, mesh: Mesh
) -> TrainState:
    abstract = with_shardings(state, mesh)
    found = checkpoints.restore_newest(
        abstract.variables,
        abstract.optimizer,
        check=lambda folder, saved: check_continuation(saved, metadata, folder),
    )
    if found is None:
        return state
    _LOGGER.info("Continuing after step %d (%s)", found.step, checkpoints.folder)
    step = jax.device_put(np.int32(found.step), meshes.replicated(mesh))
    return TrainState(step, state.halted, found.variables, found.optimizer)


def _check_finite(
    state: TrainState,
    source: Source,
    config: ConfigDict,
    mesh: Mesh,
    workdir: Path,
    metadata: Metadata,
    schedule: optax.Schedule,
) -> None:
    failed = int(state.halted)
    if failed:
        batch = batch_of_step(source, config, mesh, failed)
        rate = float(schedule(failed - 1))
        raise save_dump(workdir / "nonfinite" / str(failed), state, batch, metadata, rate)


def _epoch_ends(every_epochs: int, *, steps_per_epoch: float, total_steps: int) -> set[int]:
    """Steps after which every so many epochs are full, and the last step; 0 epochs: none."""
    if every_epochs <= 0:
        return set()
    epochs = math.ceil(total_steps / (every_epochs * steps_per_epoch))
    ends = {math.floor(n * every_epochs * steps_per_epoch) for n in range(1, epochs)}
    return (ends - {0}) | {total_steps}


def _is_evaluated(workdir: Path, step: int) -> bool:
    """Whether an evaluation followed the checkpoint: one from before more epochs does not count."""
    saved = (workdir / FOLDER / str(step)).stat().st_mtime
    return any(path.stat().st_mtime >= saved for path in workdir.glob("evaluation*.json"))
