"""Training: load, step, evaluate, save."""

import logging
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from harmony_jax import workdir as workdirs
from harmony_jax.data.sources import Source
from harmony_jax.data.splits import open_split
from harmony_jax.data.training_data import TrainingData, batch_of_step, check_training_data
from harmony_jax.devices import failures
from harmony_jax.devices.distributed import as_first_process
from harmony_jax.devices.mesh import create_mesh
from harmony_jax.errors import InputError, StoppedError
from harmony_jax.evaluation.evaluator import Evaluation, Evaluator, spread
from harmony_jax.evaluation.run import evaluate_workdir, evaluated_source
from harmony_jax.training.continuation import check_continuation, training_metadata
from harmony_jax.training.nonfinite import save_dump
from harmony_jax.training.optimizer import learning_rates
from harmony_jax.training.overview import parameter_table
from harmony_jax.training.preemption import StopRequest
from harmony_jax.training.profiling import Trace
from harmony_jax.training.progress import TENSORBOARD, Progress
from harmony_jax.training.setup import Training, set_up
from harmony_jax.training.step import TrainState
from harmony_jax.weights.checkpoint import Checkpoints, Metadata
from harmony_jax.weights.steps import FOLDER, is_being_written, saved_steps

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
    mesh = create_mesh(config.mesh.devices, config.mesh.shards)
    sets = _open_sets(config)
    training = set_up(config, mesh, len(sets.train))
    evaluator = Evaluator(training.model, config, mesh)
    metadata = training_metadata(config, sets.train)
    due = _due_after(training)
    # Before the workdir is made: a backbone that cannot be leaves none.
    begun = as_first_process(bool(saved_steps(workdir / FOLDER)))
    first = None if begun else training.begin()

    with workdirs.opened(workdir), StopRequest() as stop_request, ExitStack() as at_end:
        checkpoints = at_end.enter_context(closing(_checkpoints(config, workdir)))
        at_end.enter_context(failures.told(lambda: is_being_written(workdir / FOLDER)))
        resumed = training.resume(
            checkpoints, lambda folder, found: check_continuation(found, metadata, folder)
        )
        state = resumed or first or training.begin()
        start_step, total_steps = int(state.step), training.total_steps
        if start_step < total_steps:
            workdirs.record(config, workdir)
            progress = at_end.enter_context(closing(_progress(training, state, workdir)))
            trace = at_end.enter_context(closing(_trace(config, workdir, start_step + 1)))
            data = at_end.enter_context(closing(TrainingData(sets.train, config, mesh, start_step)))
            metrics: dict[str, jax.Array] = {}
        for step in range(start_step + 1, total_steps + 1):
            trace.before_step(step, metrics)
            before = metrics
            state, metrics = training.step(state, data.next(before))
            jax.block_until_ready(before)  # the devices have one step in hand, and no more
            signal = stop_request.received(step)
            progress.after_step(step, metrics, data.seconds_waited)
            if step in due.logged or step in due.saved or signal:
                _check_finite(training, state, sets.train, metadata, workdir)
            if step in due.listed:
                progress.after_epoch(step, data.report_unreadable())
            ranked_by = None
            if step in due.evaluated:
                with progress.paused(metrics):
                    result = _evaluate(evaluator, state, sets.shown_in_training, config)
                    progress.after_evaluation(step, result)
                ranked_by = result.model["All"] if sets.validation else None
            if step in due.saved or signal:
                checkpoints.save(step, state.variables, state.optimizer, metadata, ranked_by)
            if signal:
                raise StoppedError(
                    f"stopped after step {step} of {total_steps}, which is saved: the same "
                    "command continues",
                    signal,
                )
    if start_step >= total_steps:
        done = f"step {start_step} of {total_steps}"
        _LOGGER.info("%s: training is finished (%s)", workdir, done)
        if as_first_process(_is_evaluated(workdir, start_step)):
            return
    evaluate_workdir(config, workdir)


class _Sets(NamedTuple):
    """What a training reads.

    Attributes:
        train: to learn from.
        validation: held out of it, to choose the best checkpoint; may be empty.
        evaluated: what the result is evaluated on.
    """

    train: Source
    validation: Source
    evaluated: Source

    @property
    def shown_in_training(self) -> Source:
        """Gives the curves: without a validation set the evaluated one, which chooses nothing."""
        return self.validation if len(self.validation) else self.evaluated


def _open_sets(config: ConfigDict) -> _Sets:
    """Opens all of them now: a missing file should not wait for the end."""
    train, validation = (open_split(config.data, split) for split in ("train", "validation"))
    check_training_data(train, config)
    return _Sets(train, validation, evaluated_source(config))


class _Due(NamedTuple):
    """Steps after which something is due."""

    logged: range
    listed: set[int]
    evaluated: set[int]
    saved: set[int]


def _due_after(training: Training) -> _Due:
    config, total = training.config, training.total_steps
    every = config.train.log_every_steps
    evaluated = training.epoch_ends(config.evaluation.every_epochs)
    return _Due(
        logged=range(every, total + 1, every),
        listed=training.epoch_ends(1),
        evaluated=evaluated,
        saved=training.epoch_ends(config.checkpoint.every_epochs) | evaluated | {total},
    )


def _checkpoints(config: ConfigDict, workdir: Path) -> Checkpoints:
    section = config.checkpoint
    return Checkpoints(workdir / FOLDER, section.keep_newest, section.best_metric)


def _progress(training: Training, state: TrainState, workdir: Path) -> Progress:
    """Begins to report, with a table of what is trained."""
    config, params = training.config, state.variables.params
    table = parameter_table(params, config.optimizer.backbone_rate)
    _LOGGER.info("%s on %d device(s)\n%s", config.model.name, training.mesh.size, table)
    return Progress(
        workdir,
        int(state.step),
        training.total_steps,
        config,
        training.schedule,
        learning_rates(config.optimizer, params),
    )


def _trace(config: ConfigDict, workdir: Path, first_step: int) -> Trace:
    return Trace(workdir / TENSORBOARD, first_step, config.profile)


def _check_finite(
    training: Training, state: TrainState, source: Source, metadata: Metadata, workdir: Path
) -> None:
    failed = int(state.halted)
    if failed:
        batch = batch_of_step(source, training.config, training.mesh, failed)
        rate = float(training.schedule(failed - 1))
        raise save_dump(workdir / "nonfinite" / str(failed), state, batch, metadata, rate)


def _evaluate(
    evaluator: Evaluator, state: TrainState, source: Source, config: ConfigDict
) -> Evaluation:
    shown = spread(len(source), config.evaluation.num_pictures)
    result = evaluator.evaluate(state.variables, source, shown=shown)
    if result.left_out:
        raise InputError(result.left_out[0])
    return result


def _is_evaluated(workdir: Path, step: int) -> bool:
    """Whether an evaluation followed the checkpoint: one from before more epochs does not count."""
    saved = (workdir / FOLDER / str(step)).stat().st_mtime
    return any(path.stat().st_mtime >= saved for path in workdir.glob("evaluation*.json"))
