"""Training: load, step, evaluate, save."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from harmony_jax import workdir as workdirs
from harmony_jax.data.sources import Source
from harmony_jax.data.splits import open_set
from harmony_jax.data.training_data import TrainingData, batch_of_step, check_training_data
from harmony_jax.devices import failures
from harmony_jax.devices.distributed import as_first_process
from harmony_jax.devices.mesh import create_mesh
from harmony_jax.errors import InputError, StoppedError
from harmony_jax.evaluation.evaluator import EvaluationStoppedError, Evaluator, spread
from harmony_jax.evaluation.run import evaluate_workdir, evaluated_source
from harmony_jax.training.continuation import check_continuation, flat, training_metadata
from harmony_jax.training.layout import TrainState
from harmony_jax.training.nonfinite import save_dump
from harmony_jax.training.optimizer import BASE_BATCH_SIZE, batch_factor, learning_rates
from harmony_jax.training.overview import parameter_table
from harmony_jax.training.preemption import StopRequest
from harmony_jax.training.profiling import Trace
from harmony_jax.training.progress import TENSORBOARD, Progress
from harmony_jax.training.setup import Training, set_up
from harmony_jax.training.writers import TensorBoardWriter, Writer
from harmony_jax.weights.checkpoint import BEST, Checkpoints, Metadata
from harmony_jax.weights.steps import FOLDER, is_being_written, saved_steps

_LOGGER = logging.getLogger(__name__)


def train(config: ConfigDict, workdir: Path, writers: Sequence[Writer] = ()) -> None:
    """Trains the config's model, from where the workdir's newest checkpoint left off.

    Writes checkpoints and TensorBoard files into the workdir, and at the end the evaluation of
    the result (see `evaluate_workdir`). A finished workdir is left as it is.

    Args:
        config: of the run (configs/base.py).
        workdir: a folder, made if it is not there.
        writers: get curves, pictures and texts besides TensorBoard, and are closed at the end.

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
        for writer in writers:
            at_end.callback(writer.close)
        checkpoints = at_end.enter_context(closing(_checkpoints(config, workdir)))
        at_end.enter_context(failures.told(lambda: is_being_written(workdir / FOLDER)))
        resumed = training.resume(
            checkpoints, lambda folder, found: check_continuation(found, metadata, folder)
        )
        state = resumed or first or training.begin()
        start_step, total_steps = int(state.step), training.total_steps
        if start_step < total_steps:
            workdirs.record(config, workdir)
            writers = [*at_end.enter_context(_tensorboard(config, workdir, start_step)), *writers]
        progress = _progress(training, state, writers)
        validation = _Validation(training, evaluator, sets, checkpoints, progress, stop_request)
        waits = start_step in due.evaluated and validation.is_missing(start_step)
        if waits and (signal := validation.run(start_step, state)):
            raise _stopped(start_step, total_steps, signal)
        if start_step < total_steps:
            trace = at_end.enter_context(closing(_trace(config, workdir, start_step + 1)))
            data = at_end.enter_context(closing(_data(training, sets.train, state, stop_request)))
            metrics: dict[str, jax.Array] = {}
        for step in range(start_step + 1, total_steps + 1):
            trace.before_step(step, metrics)
            before = metrics
            try:
                batch = data.next(before)
            except InputError:
                _save_what_is_done(training, state, sets.train, metadata, workdir, checkpoints)
                raise
            with jax.profiler.StepTraceAnnotation("train", step_num=step):
                state, metrics = training.step(state, batch)
                jax.block_until_ready(before)  # the devices have one step in hand, and no more
            del batch  # on a CPU it may lie in memory that is shared with the workers
            signal = stop_request.received(step)
            progress.after_step(step, metrics, data.seconds_waited)
            if step in due.logged or step in due.saved or signal:
                _check_finite(training, state, sets.train, metadata, workdir)
            if step in due.listed:
                progress.after_epoch(step, data.report_unreadable())
            if step in due.saved or signal:
                training.save(checkpoints, state, metadata)
            if step in due.evaluated and not signal:
                with progress.paused(metrics):
                    signal = validation.run(step, state)
            if signal:
                raise _stopped(step, total_steps, signal)
    if start_step >= total_steps:
        done = f"step {start_step} of {total_steps}"
        _LOGGER.info("%s: training is finished (%s)", workdir, done)
        if as_first_process(_is_evaluated(workdir, start_step)):
            return
    evaluate_workdir(config, workdir)


def _stopped(step: int, total_steps: int, signal: int) -> StoppedError:
    text = f"stopped after step {step} of {total_steps}, which is saved: the same command continues"
    return StoppedError(text, signal)


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


def _open_sets(config: ConfigDict) -> _Sets:
    """Opens all of them now: a missing file should not wait for the end."""
    train, validation = (open_set(config, split) for split in ("train", "validation"))
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


@contextmanager
def _tensorboard(config: ConfigDict, workdir: Path, start_step: int) -> Iterator[list[Writer]]:
    """The event files' writer, on the first process alone, with what is known at the start."""
    if jax.process_index() != 0:
        yield []
        return
    metrics = ["train/loss", *(f"evaluation/{name}_model" for name in BEST)]
    with closing(TensorBoardWriter(workdir / TENSORBOARD, start_step)) as writer:
        writer.hyperparameters(flat(config.to_dict()), metrics)
        yield [writer]


def _progress(training: Training, state: TrainState, writers: Sequence[Writer]) -> Progress:
    """Begins to report, with a table of what is trained if there is anything left to do."""
    config, step = training.config, int(state.step)
    params = training.layout.trees.variables.params
    rates = learning_rates(config.optimizer, params)
    progress = Progress(writers, step, training.total_steps, config, training.schedule, rates)
    if step >= training.total_steps:
        return progress
    table = parameter_table(params, config.optimizer)
    _LOGGER.info("%s on %d device(s)\n%s", config.model.name, training.mesh.size, table)
    if (factor := batch_factor(config)) != 1:
        _LOGGER.info(
            "Learning rate %g, %.4g times optimizer.learning_rate: %d images a step, not %d "
            "(optimizer.batch_rule %s)",
            factor * config.optimizer.learning_rate,
            factor,
            config.train.batch_size,
            BASE_BATCH_SIZE,
            config.optimizer.batch_rule,
        )
    fields = "\n".join(f"{name} = {value!r}" for name, value in flat(config.to_dict()).items())
    progress.at_start({"config": fields, "model": table})
    return progress


def _data(
    training: Training, source: Source, state: TrainState, stop_request: StopRequest
) -> TrainingData:
    """Begins to read; where samples stay on the devices, all of them, beside what a step needs."""
    config, start_step = training.config, int(state.step)
    reserved = training.compile_step() if config.data.placement == "device" else 0
    check = partial(stop_request.check, start_step)
    return TrainingData(source, config, training.mesh, start_step, reserved=reserved, check=check)


def _trace(config: ConfigDict, workdir: Path, first_step: int) -> Trace:
    return Trace(workdir / TENSORBOARD, first_step, config.profile)


def _check_finite(
    training: Training, state: TrainState, source: Source, metadata: Metadata, workdir: Path
) -> None:
    failed = int(state.halted)
    if failed:
        batch = batch_of_step(source, training.config, training.mesh, failed)
        rate = float(training.schedule(failed - 1))
        trees = training.layout.as_trees(state)
        raise save_dump(workdir / "nonfinite" / str(failed), trees, batch, metadata, rate)


class _Validation:
    """Evaluates saved steps while training goes on, and adds their metrics to the checkpoints."""

    def __init__(
        self,
        training: Training,
        evaluator: Evaluator,
        sets: _Sets,
        checkpoints: Checkpoints,
        progress: Progress,
        stop_request: StopRequest,
    ):
        self._training, self._evaluator, self._checkpoints = training, evaluator, checkpoints
        self._progress, self._stop_request = progress, stop_request
        # Without a validation set the evaluated one gives the curves; it must not choose the
        # checkpoint that it will be evaluated on.
        self._ranks = bool(len(sets.validation))
        self._source = sets.validation if self._ranks else sets.evaluated

    def is_missing(self, step: int) -> bool:
        """Whether a saved step waits for the metrics that rank it: training ended in between."""
        missing = as_first_process(self._checkpoints.validation(step) is None)
        return self._ranks and bool(missing)

    def run(self, step: int, state: TrainState) -> int | None:
        """Validates a saved step; returns the signal that stopped it, if any.

        Raises:
            InputError: an image cannot be read, and `data.unreadable` is not skip.
        """
        source, config = self._source, self._training.config
        shown = spread(len(source), config.evaluation.num_pictures)
        variables = self._training.variables_to_show(state)
        try:
            result = self._evaluator.evaluate(
                variables, source, shown=shown, stops=self._stop_request.is_noted
            )
        except EvaluationStoppedError:
            return self._stop_request.received(step)
        if result.left_out:
            if config.data.unreadable != "skip" or not result.per_image:
                raise InputError(result.left_out[0])
            listed = "".join(f"\n  {text}" for text in result.left_out)
            count = f"{len(result.left_out)} of {len(source)}"
            _LOGGER.warning("%s held-out images could not be read:%s", count, listed)
        self._progress.after_evaluation(step, result)
        if self._ranks:
            self._checkpoints.add_validation(step, result.model["All"])
        return None


def _save_what_is_done(
    training: Training,
    state: TrainState,
    source: Source,
    metadata: Metadata,
    workdir: Path,
    checkpoints: Checkpoints,
) -> None:
    """Saves the steps done, before an error of the data ends this process.

    One of several processes cannot save alone.
    """
    step = int(state.step)
    newest = checkpoints.newest_step()
    if jax.process_count() == 1 and step > (newest or 0):
        _check_finite(training, state, source, metadata, workdir)
        training.save(checkpoints, state, metadata)
        _LOGGER.warning("Step %d is saved: once this is mended, the same command continues", step)


def _is_evaluated(workdir: Path, step: int) -> bool:
    """Whether an evaluation followed the checkpoint: one from before more epochs does not count."""
    saved = (workdir / FOLDER / str(step)).stat().st_mtime
    return any(path.stat().st_mtime >= saved for path in workdir.glob("evaluation*.json"))
