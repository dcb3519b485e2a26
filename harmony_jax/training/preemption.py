"""Being asked to stop: SIGTERM, as a preempted machine gets it, and Ctrl-C."""

import os
import signal
import threading
from types import FrameType, TracebackType

import jax
import numpy as np
from jax.experimental import multihost_utils

from harmony_jax.errors import StoppedError

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Within this context a signal is only noted; training asks for it between steps.

    SIGTERM and Ctrl-C are noted, the second Ctrl-C interrupts at once. What takes minutes before
    the first step calls `check`, which ends it. With several processes JAX's coordination service
    catches SIGTERM, which Ctrl-C is passed on as, and all of them stop after the same step,
    whichever got the signal. Outside the main thread signals keep their meaning.
    """

    def __init__(self) -> None:
        self._signal: int | None = None
        self._previous: dict[int, object] = {}
        self._together = jax.process_count() > 1
        self._asked = False

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            # Python must not take SIGTERM from JAX, whose handler no one could put back.
            for number in _SIGNALS if not self._together else (signal.SIGINT,):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def received(self, step: int) -> int | None:
        """The signal to stop for after this step, or None; all processes get the same answer."""
        if not self._together:
            return self._signal
        reached = multihost_utils.reached_preemption_sync_point
        # The service counts from 0: of a signal before the first call it makes a stop at 1, which
        # a training that continues after step 1000 would never come to.
        early, self._asked = not self._asked and reached(1), True
        if not (early or reached(step)):
            return None
        own = self._signal or signal.SIGTERM
        asked = multihost_utils.process_allgather(np.array(own))
        return signal.SIGINT if signal.SIGINT in asked else signal.SIGTERM

    def is_noted(self) -> bool:
        """Whether this process alone was asked to stop; several stop together, between steps."""
        return not self._together and self._signal is not None

    def check(self, saved_step: int) -> None:
        """Called between parts of what comes before the first step; several processes go on.

        Args:
            saved_step: of the newest checkpoint, 0 if there is none.

        Raises:
            StoppedError: a signal came.
        """
        if self._signal is not None and not self._together:
            saved = f"step {saved_step} is saved" if saved_step else "nothing is to be saved yet"
            raise StoppedError(
                f"stopped before the first step; {saved}: the same command continues", self._signal
            )

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._signal is not None:
            raise KeyboardInterrupt
        self._signal = number
        if self._together:
            os.kill(os.getpid(), signal.SIGTERM)
