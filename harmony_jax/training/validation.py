"""Validation while training goes on."""

import logging

from harmony_jax.data.sources import Source
from harmony_jax.devices.distributed import as_first_process
from harmony_jax.errors import InputError
from harmony_jax.evaluation.evaluator import EvaluationStoppedError, Evaluator, spread
from harmony_jax.training.layout import TrainState
from harmony_jax.training.preemption import StopRequest
from harmony_jax.training.progress import Progress
from harmony_jax.training.saving import Saving

_LOGGER = logging.getLogger(__name__)


class Validation:
    """Evaluates saved states. Their metrics are reported, and rank the checkpoints.

    If nothing is held out, the evaluated set gives the curves. It must not choose the checkpoint
    that it will evaluate, so nothing is ranked then.
    """

    def __init__(
        self,
        saving: Saving,
        evaluator: Evaluator,
        held_out: Source,
        evaluated: Source,
        progress: Progress,
        stop_request: StopRequest,
    ):
        self._training, self._checkpoints = saving.training, saving.checkpoints
        self._evaluator, self._progress, self._stop_request = evaluator, progress, stop_request
        self._ranks = bool(len(held_out))
        self._source = held_out if self._ranks else evaluated

    def make_up(self, state: TrainState) -> None:
        """Validates a saved state if training ended before its metrics were saved."""
        missing = self._ranks and self._checkpoints.validation(int(state.step)) is None
        if as_first_process(missing):
            self.run(state)

    def run(self, state: TrainState) -> None:
        """Validates a saved state.

        Raises:
            StoppedError: a signal came meanwhile.
            InputError: an image cannot be read, and `data.unreadable` is not skip.
        """
        step, config, source = int(state.step), self._training.config, self._source
        shown = spread(len(source), config.evaluation.num_pictures)
        variables = self._training.variables_to_show(state)
        try:
            result = self._evaluator.evaluate(
                variables, source, shown=shown, stops=self._stop_request.is_noted
            )
        except EvaluationStoppedError:
            raise self._stop_request.error(step, self._training.total_steps) from None
        if result.left_out:
            if config.data.unreadable != "skip":
                raise InputError(f"{result.left_out[0]}; or set data.unreadable to skip")
            if not result.per_image:
                raise InputError(result.left_out[0])
            listed = "".join(f"\n  {text}" for text in result.left_out)
            count = f"{len(result.left_out)} of {len(source)}"
            _LOGGER.warning("%s held-out images could not be read:%s", count, listed)
        self._progress.after_evaluation(step, result)
        if self._ranks:
            self._checkpoints.add_validation(step, result.model["All"])
