"""A trace of a few steps, for TensorBoard's profiler or Perfetto."""

import logging
from pathlib import Path
from typing import Any

import jax

_STEPS_BEFORE = 10  # compilation and queues that fill are not worth a trace

_LOGGER = logging.getLogger(__name__)


class Trace:
    """Traces so many steps of a training on every process, into `plugins/profile/` of a folder."""

    def __init__(self, folder: Path, first_step: int, steps: int):
        self._folder = folder
        self._begin = first_step + _STEPS_BEFORE
        self._end = self._begin + steps
        self._running = False

    def before_step(self, step: int, computing: Any) -> None:
        """Starts or ends the trace if it is time, once the results being computed are there."""
        if step == self._begin < self._end:
            jax.block_until_ready(computing)
            jax.profiler.start_trace(self._folder)
            self._running = True
        elif step == self._end:
            self.close(computing)

    def close(self, computing: Any = None) -> None:
        """Ends a trace that runs."""
        if self._running:
            jax.block_until_ready(computing)
            jax.profiler.stop_trace()
            self._running = False
            _LOGGER.info("Trace written: %s", self._folder / "plugins" / "profile")
