"""Training: load, step, evaluate, save."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import jax
from ml_collections import ConfigDict

from harmony_jax import workdir as workdirs
from harmony_jax.config_ranges import check_config
from harmony_jax.data.sources import Source
from harmony_jax.data.splits import open_set
from harmony_jax.data.training_data import TrainingData, check_training_data
from harmony_jax.devices import failures
from harmony_jax.devices.distributed import as_first_process
from harmony_jax.devices.host_limits import raise_file_limit
from harmony_jax.devices.mesh import create_mesh
from harmony_jax.evaluation.evaluator import Evaluator
from harmony_jax.evaluation.run import evaluate_workdir, evaluated_source
from harmony_jax.training.preemption import StopRequest
from harmony_jax.training.progress import Progress, Trace
from harmony_jax.training.saving import Saving
from harmony_jax.training.setup import Training, set_up
from harmony_jax.training.validation import Validation
from harmony_jax.training.writers import TENSORBOARD, Writer
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
    raise_file_limit()
    with ExitStack() as at_end:
        for writer in writers:
            at_end.callback(writer.close)
        is_evaluated = _train(config, workdir, writers)
    if not is_evaluated:
        evaluate_workdir(config, workdir)


def _train(config: ConfigDict, workdir: Path, writers: Sequence[Writer]) -> bool:
    """Trains to the end; whether an evaluation followed that already."""
    check_config(config)
    # Load. All sets are opened now: a missing file should not wait for the end.
    mesh = create_mesh(config.mesh.devices, config.mesh.shards)
    source, held_out = (open_set(config, split) for split in ("train", "validation"))
    check_training_data(source, config)
    evaluated = evaluated_source(config)
    training = set_up(config, mesh, len(source))
    evaluator = Evaluator(training.model, config, mesh)
    total_steps = training.total_steps
    validated_at = training.epoch_ends(config.evaluation.every_epochs)
    saved_at = training.epoch_ends(config.checkpoint.every_epochs) | validated_at | {total_steps}
    epoch_ends = training.epoch_ends(1)
    # Before the workdir is made: initial weights that cannot be used leave none.
    begun = as_first_process(bool(saved_steps(workdir / FOLDER)))
    first = None if begun else training.begin()

    with workdirs.opened(workdir), StopRequest() as stop_request, ExitStack() as at_end:
        saving = Saving(training, source, workdir)
        at_end.callback(saving.close)
        at_end.enter_context(failures.told(lambda: is_being_written(workdir / FOLDER)))

        # Continue, or begin.
        state = saving.resume() or first or training.begin()
        start_step = int(state.step)
        progress = Progress(training, start_step, workdir, writers)
        at_end.callback(progress.close)
        validation = Validation(saving, evaluator, held_out, evaluated, progress, stop_request)
        if start_step in validated_at:
            validation.make_up(state)
        if start_step < total_steps:
            workdirs.record(config, workdir)
            trace = Trace(workdir / TENSORBOARD, start_step + 1, config.profile)
            at_end.callback(trace.close)
            data = _open_data(training, source, start_step, stop_request)
            at_end.callback(data.close)

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
            reports = step % config.train.log_every_steps == 0
            saves = step in saved_at or stops or (reports and saving.is_due())
            if saves or reports:
                saving.check_finite(state)
            if step in epoch_ends:
                progress.after_epoch(step, data.report_unreadable())
            if saves:
                saving.save(state)
            if stops:
                raise stop_request.error(step, total_steps)
            if step in validated_at:
                with progress.paused(metrics):
                    validation.run(state)

    if start_step < total_steps:
        return False
    _LOGGER.info("%s: training is finished (step %d of %d)", workdir, start_step, total_steps)
    # Not only an evaluation of fewer epochs.
    saved = (workdir / FOLDER / str(start_step)).stat().st_mtime
    files = workdir.glob("evaluation*.json")
    return bool(as_first_process(any(path.stat().st_mtime >= saved for path in files)))


def _open_data(
    training: Training, source: Source, start_step: int, stop_request: StopRequest
) -> TrainingData:
    """Starts to read. Samples that stay on the devices leave room for what a step needs."""
    config, mesh = training.config, training.mesh
    reserved = training.compile_step() if config.data.placement == "device" else 0
    check = partial(stop_request.check, start_step, training.total_steps)
    return TrainingData(source, config, mesh, start_step, reserved=reserved, check=check)
