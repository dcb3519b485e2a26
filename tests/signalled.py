"""main.py, to which a signal may be sent: python -m tests.signalled STEP SIGNAL ARGUMENT...

The signal comes after the step, before the first one with STEP 0, and never if it is `-`. Here the
processes keep pace, and a step takes long enough for the signal to reach all before the next.
"""

import os
import signal
import sys
import time

from absl import app
from jax.experimental import multihost_utils

import main
from harmony_jax.command_line import parse_flags
from harmony_jax.training import loop

_SECONDS = 2.5  # JAX looks for a signal every second


class _Signalled(loop.StopRequest):
    def __enter__(self) -> "_Signalled":
        super().__enter__()
        self._after(0)
        return self

    def received(self, step: int) -> bool:
        time.sleep(_SECONDS)
        multihost_utils.sync_global_devices(f"step {step}")
        answer = super().received(step)
        self._after(step)
        return answer

    def _after(self, step: int) -> None:
        if step == _STEP and _SIGNAL:
            os.kill(os.getpid(), _SIGNAL)


if __name__ == "__main__":
    _STEP, _name = int(sys.argv.pop(1)), sys.argv.pop(1)
    _SIGNAL = None if _name == "-" else signal.Signals[_name]
    loop.StopRequest = _Signalled
    app.run(main.main, flags_parser=lambda arguments: parse_flags(arguments, main._CONFIG))
