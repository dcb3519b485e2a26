"""A trace of a few steps, for TensorBoard's profiler or Perfetto."""

import logging
from pathlib import Path
from typing import Any

import jax

_STEPS_BEFORE = 10  # compilation and filling queues are not what a trace is for

_LOGGER = logging.getLogger(__name__)


class Trace:
    """Traces some steps of a training on every process.

    Args:
        folder: gets the trace, in `plugins/profile/`.
        first_step: of this training.
        steps: how many to trace; 0: none.
    """

    def __init__(self, folder: Path, first_step: int, steps: int):
        self._folder = folder
        self._begin = first_step + _STEPS_BEFORE
        self._end = self._begin + steps
        self._running = False

    def before_step(self, step: int, running: Any) -> None:
        """Starts or ends the trace if it is time; `running` are results still being computed."""
        if step == self._begin < self._end:
            jax.block_until_ready(running)
            jax.profiler.start_trace(self._folder)
            self._running = True
        elif step == self._end:
            self.close(running)

    def close(self, running: Any = None) -> None:
        """Ends a trace that runs."""
        if self._running:
            jax.block_until_ready(running)
            jax.profiler.stop_trace()
            self._running = False
            _LOGGER.info("Trace written: %s", self._folder / "plugins" / "profile")
