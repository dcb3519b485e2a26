"""Being asked to stop: SIGTERM, as a preempted machine gets it, and Ctrl-C."""

import signal
import threading
from types import FrameType, TracebackType

import jax
from jax.experimental import multihost_utils

from harmony_jax.errors import StoppedError

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Within this context a signal is only noted; training asks for it between steps.

    SIGTERM and Ctrl-C are noted, the second Ctrl-C interrupts at once. What takes minutes before
    the first step calls `check`, which ends it. With several processes JAX's coordination service
    catches SIGTERM, and all of them stop after the same step. Outside the main thread signals keep
    their meaning.

    """

    def __init__(self) -> None:
        self._signal: int | None = None
        self._previous: dict[int, object] = {}
        self._together = jax.process_count() > 1

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread() and not self._together:
            for number in _SIGNALS:
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
        if self._together and multihost_utils.reached_preemption_sync_point(step):
            self._signal = signal.SIGTERM
        return self._signal

    def is_noted(self) -> bool:
        """Whether this process alone was asked to stop; several stop together, between steps."""
        return not self._together and self._signal is not None

    def check(self, saved_step: int) -> None:
        """Called between parts of what comes before the first step.

        Args:
            saved_step: of the newest checkpoint, 0 if there is none.

        Raises:
            StoppedError: a signal came.
        """
        if self._signal is not None:
            saved = f"step {saved_step} is saved" if saved_step else "nothing is to be saved yet"
            raise StoppedError(
                f"stopped before the first step; {saved}: the same command continues", self._signal
            )

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._signal is not None:
            raise KeyboardInterrupt
        self._signal = number
