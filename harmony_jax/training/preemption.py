"""Being asked to stop: SIGTERM, as a preempted machine gets it, and Ctrl-C."""

import os
import signal
import threading
from types import FrameType

import jax
import numpy as np
from jax.experimental import multihost_utils

from harmony_jax.errors import StoppedError

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Within this context a signal is only noted; training asks for it between steps.

    SIGTERM and Ctrl-C are noted; the second Ctrl-C interrupts at once. With several processes JAX's
    coordination service catches SIGTERM, and Ctrl-C is passed on to it as SIGTERM. All processes
    then stop after the same step, whichever of them got the signal. Outside the main thread signals
    keep their meaning.
    """

    def __init__(self) -> None:
        self._signal: int | None = None
        self._previous: dict[int, object] = {}
        self._together = jax.process_count() > 1
        self._asked = False

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            # With several processes SIGTERM stays JAX's, whose handler nobody could put back.
            for number in _SIGNALS if not self._together else (signal.SIGINT,):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def received(self, step: int) -> bool:
        """Whether to stop after this step; all processes get the same answer."""
        if not self._together:
            return self.is_noted()
        reached = multihost_utils.reached_preemption_sync_point
        # The service counts from 0. A signal before the first call makes it ask for a stop at 1,
        # which a training that continues after step 1000 would never reach.
        early, self._asked = not self._asked and reached(1), True
        if not (early or reached(step)):
            return False
        asked = multihost_utils.process_allgather(np.array(self._signal or signal.SIGTERM))
        self._signal = signal.SIGINT if signal.SIGINT in asked else signal.SIGTERM
        return True

    def is_noted(self) -> bool:
        """Whether this process alone was asked to stop; several stop together, between steps."""
        return not self._together and self._signal is not None

    def error(self, saved_step: int, total_steps: int) -> StoppedError:
        """What to raise for a signal; `saved_step` is 0 if there is no checkpoint yet."""
        after = f"after step {saved_step} of {total_steps}, which is saved"
        text = after if saved_step else "before the first step; there is nothing to save yet"
        number = self._signal or signal.SIGTERM
        return StoppedError(f"stopped {text}: the same command continues", number)

    def check(self, saved_step: int, total_steps: int) -> None:
        """Raises StoppedError if `is_noted`; for what takes minutes before the first step."""
        if self.is_noted():
            raise self.error(saved_step, total_steps)

    def _note(self, number: int, frame: FrameType | None) -> None:
        interrupt = self._previous[signal.SIGINT]
        if number == signal.SIGINT and self._signal is not None and callable(interrupt):
            interrupt(number, frame)
        self._signal = number
        if self._together:
            os.kill(os.getpid(), signal.SIGTERM)
