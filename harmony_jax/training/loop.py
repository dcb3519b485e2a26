"""Training: load, step, evaluate, save."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from harmony_jax import workdir as workdirs
from harmony_jax.data.sources import Source
from harmony_jax.data.splits import open_set
from harmony_jax.data.training_data import TrainingData, check_training_data
from harmony_jax.devices import failures
from harmony_jax.devices.distributed import as_first_process
from harmony_jax.devices.mesh import create_mesh
from harmony_jax.errors import InputError
from harmony_jax.evaluation.evaluator import (
    Evaluation,
    EvaluationStoppedError,
    Evaluator,
    spread,
)
from harmony_jax.evaluation.run import evaluate_workdir, evaluated_source
from harmony_jax.training.layout import TrainState
from harmony_jax.training.preemption import StopRequest
from harmony_jax.training.profiling import Trace
from harmony_jax.training.progress import Progress
from harmony_jax.training.saving import Saving
from harmony_jax.training.setup import Training, set_up
from harmony_jax.training.writers import TENSORBOARD, Writer, tensorboard
from harmony_jax.weights.steps import FOLDER, is_being_written, saved_steps

_LOGGER = logging.getLogger(__name__)


def train(config: ConfigDict, workdir: Path, writers: Sequence[Writer] = ()) -> None:
    """Trains the config's model, from where the workdir's newest checkpoint left off.

    Writes checkpoints and TensorBoard files into the workdir, and at the end the evaluation of
    the result (see `evaluate_workdir`). A finished workdir is left as it is.

    Args:
        config: of the run (configs/base.py).
        workdir: a folder, made if it does not exist.
        writers: get curves, pictures and texts besides TensorBoard, and are closed at the end.

    Raises:
        InputError: config, data, disk or the workdir's checkpoints do not fit.
        NonFiniteError: the loss or gradient of a step was not finite.
        StoppedError: a signal asked to stop; the state is saved.
    """
    # Load. All sets are opened now: a missing file should not wait for the end.
    mesh = create_mesh(config.mesh.devices, config.mesh.shards)
    source, held_out = (open_set(config, split) for split in ("train", "validation"))
    check_training_data(source, config)
    evaluated = evaluated_source(config)
    training = set_up(config, mesh, len(source))
    evaluator = Evaluator(training.model, config, mesh)
    due, total_steps = _due_after(training), training.total_steps
    # Before the workdir is made: initial weights that cannot be used leave none.
    begun = as_first_process(bool(saved_steps(workdir / FOLDER)))
    first = None if begun else training.begin()

    with workdirs.opened(workdir), StopRequest() as stop_request, ExitStack() as at_end:
        for writer in writers:
            at_end.callback(writer.close)
        saving = at_end.enter_context(closing(Saving(training, source, workdir)))
        at_end.enter_context(failures.told(lambda: is_being_written(workdir / FOLDER)))

        # Continue, or begin.
        state = saving.resume() or first or training.begin()
        start_step = int(state.step)
        if start_step < total_steps:
            workdirs.record(config, workdir)
            writers = [*at_end.enter_context(tensorboard(config, workdir, start_step)), *writers]
        progress = Progress(training, start_step, writers)

        def validate(state: TrainState) -> None:
            # Without held-out samples the evaluated ones give the curves. They must not choose the
            # checkpoint that they will evaluate.
            step, ranks = int(state.step), bool(len(held_out))
            seen = held_out if ranks else evaluated
            result = _evaluated(training, evaluator, seen, state, stop_request)
            progress.after_evaluation(step, result)
            if ranks:
                saving.checkpoints.add_validation(step, result.model["All"])

        if start_step in due.evaluated and len(held_out) and saving.lacks_validation(start_step):
            validate(state)
        if start_step < total_steps:
            trace = Trace(workdir / TENSORBOARD, start_step + 1, config.profile)
            at_end.enter_context(closing(trace))
            # Where samples stay on the devices, all of them do, beside what a step needs.
            reserved = training.compile_step() if config.data.placement == "device" else 0
            check = partial(stop_request.check, start_step, total_steps)
            data = TrainingData(source, config, mesh, start_step, reserved=reserved, check=check)
            at_end.enter_context(closing(data))

        # Step, save, evaluate.
        metrics: dict[str, jax.Array] = {}
        for step in range(start_step + 1, total_steps + 1):
            trace.before_step(step, metrics)
            before = metrics
            with saving.before_errors(state):
                batch = data.next(before)
            with jax.profiler.StepTraceAnnotation("train", step_num=step):
                state, metrics = training.step(state, batch)
                jax.block_until_ready(before)  # the devices have one step in hand, and no more
            del batch  # on a CPU it may lie in memory that is shared with the workers
            stops = stop_request.received(step)
            progress.after_step(step, metrics, data.seconds_waited)
            if step in due.logged or step in due.saved or stops:
                saving.check_finite(state)
            if step in due.listed:
                progress.after_epoch(step, data.report_unreadable())
            if step in due.saved or stops:
                saving.save(state)
            if stops:
                raise stop_request.error(step, total_steps)
            if step in due.evaluated:
                with progress.paused(metrics):
                    validate(state)

    if start_step >= total_steps:
        _LOGGER.info("%s: training is finished (step %d of %d)", workdir, start_step, total_steps)
        if as_first_process(_is_evaluated(workdir, start_step)):
            return
    evaluate_workdir(config, workdir)


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


def _evaluated(
    training: Training,
    evaluator: Evaluator,
    source: Source,
    state: TrainState,
    stop_request: StopRequest,
) -> Evaluation:
    """Evaluates a saved state while training goes on; a signal gives it up."""
    config = training.config
    shown = spread(len(source), config.evaluation.num_pictures)
    variables = training.variables_to_show(state)
    try:
        result = evaluator.evaluate(variables, source, shown=shown, stops=stop_request.is_noted)
    except EvaluationStoppedError:
        raise stop_request.error(int(state.step), training.total_steps) from None
    if result.left_out:
        if config.data.unreadable != "skip" or not result.per_image:
            raise InputError(result.left_out[0])
        listed = "".join(f"\n  {text}" for text in result.left_out)
        count = f"{len(result.left_out)} of {len(source)}"
        _LOGGER.warning("%s held-out images could not be read:%s", count, listed)
    return result


def _is_evaluated(workdir: Path, step: int) -> bool:
    """Whether an evaluation followed the checkpoint, not only one of fewer epochs."""
    saved = (workdir / FOLDER / str(step)).stat().st_mtime
    return any(path.stat().st_mtime >= saved for path in workdir.glob("evaluation*.json"))
