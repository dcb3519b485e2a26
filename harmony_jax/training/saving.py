"""A training's state on disk: saved, found again, and dumped when a step is not finite."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax

from harmony_jax.data.sources import Source
from harmony_jax.data.training_data import batch_of_step
from harmony_jax.devices.distributed import as_first_process
from harmony_jax.errors import InputError
from harmony_jax.training.averaging import exchanged
from harmony_jax.training.continuation import check_continuation, training_metadata
from harmony_jax.training.layout import TrainState
from harmony_jax.training.nonfinite import save_dump
from harmony_jax.training.setup import Training
from harmony_jax.weights.checkpoint import Checkpoints
from harmony_jax.weights.steps import FOLDER

_LOGGER = logging.getLogger(__name__)


class Saving:
    """Saves the state of a training in its workdir. Close it: it waits for the last save.

    The workdir also gets dumps of steps that are not finite. A training on another `source` is not
    continued.
    """

    def __init__(self, training: Training, source: Source, workdir: Path):
        self.training, self._source, self._workdir = training, source, workdir
        self._metadata = training_metadata(training.config, source)
        section = training.config.checkpoint
        self.checkpoints = Checkpoints(workdir / FOLDER, section.keep_newest, section.best_metric)
        self.close = self.checkpoints.close
        self._seconds, self._saved = 60 * section.every_minutes, time.monotonic()

    def resume(self) -> TrainState | None:
        """The state of the newest intact checkpoint, or None if there is no checkpoint."""
        layout = self.training.layout
        found = self.checkpoints.restore_newest(
            layout.trees.variables,
            layout.trees.optimizer,
            lambda folder, metadata: check_continuation(metadata, self._metadata, folder),
        )
        if found is None:
            return None
        _LOGGER.info("Continuing after step %d (%s)", found.step, self.checkpoints.folder)
        return layout.state_at(found.step, *exchanged(found.variables, found.optimizer))

    def is_due(self) -> bool:
        """Whether the last save is long ago, by the first process's clock."""
        passed = time.monotonic() - self._saved
        return bool(self._seconds and as_first_process(passed > self._seconds))

    def save(self, state: TrainState) -> None:
        """Saves a state; it is written in the background."""
        self._saved = time.monotonic()
        trees = self.training.layout.as_trees(state)
        variables, optimizer_state = exchanged(trees.variables, trees.optimizer)
        self.checkpoints.save(int(state.step), variables, optimizer_state, self._metadata)

    @contextmanager
    def before_errors(self, state: TrainState) -> Iterator[None]:
        """Saves the state, if it is not saved yet, when bad data is about to end this process.

        One of several processes cannot save alone.
        """
        try:
            yield
        except InputError:
            step = int(state.step)
            if jax.process_count() == 1 and step > (self.checkpoints.newest_step() or 0):
                self.check_finite(state)
                self.save(state)
                _LOGGER.warning("Step %d is saved: once this is fixed, training continues", step)
            raise

    def check_finite(self, state: TrainState) -> None:
        """Raises NonFiniteError if a step was not finite, after dumping its state and batch."""
        training, failed = self.training, int(state.halted)
        if failed:
            batch = batch_of_step(self._source, training.config, training.mesh, failed)
            rate = float(training.schedule(failed - 1))
            folder = self._workdir / "nonfinite" / str(failed)
            trees = training.layout.as_trees(state)
            raise save_dump(folder, trees, batch, self._metadata, rate)
