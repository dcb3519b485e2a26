"""When one of several processes fails, all of them end, with that process's reason in one line.

A process that waits for another one in a computation cannot be interrupted. So the one that fails
leaves its reason in the key-value store of JAX's coordination service, where a thread of every
other process finds it, prints it and ends the process. A killed process leaves no reason: JAX's
heartbeats end the others then.
"""

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

from harmony_jax.errors import InputError, NonFiniteError, StoppedError

_REASON, _ENDING = "harmony_jax/failure", "harmony_jax/ending"  # a folder of keys; a barrier

_POLL_SECONDS = 1.0
_BUSY_SECONDS = 30.0  # for what must not be cut off; all end well within a minute
_ENDING_MILLISECONDS = 10_000  # how long a process waits for the others to be as far

# The libraries' words for it.
_GONE = ("closed by peer", "reset by peer", "Socket closed", "stopped sending heartbeats")
_ANOTHER_GONE = "another process was killed, or its machine is gone"

_SERVICE_ERRORS = (RuntimeError, ValueError)  # a key that is there already, or no connection

_busy: list[Callable[[], bool]] = []
_leaving = threading.Lock()  # taken by the thread that ends the process, and kept


def watch() -> None:
    """From here on this process ends when another one fails; alone it does nothing."""
    if _service():
        threading.Thread(target=_watch, name="failures", daemon=True).start()


@contextmanager
def told(busy: Callable[[], bool] | None = None) -> Iterator[None]:
    """Tells the other processes of an error as soon as it leaves this context.

    Enter it after whatever needs the others when it is closed: they would wait for this process
    there. Errors that all processes raise together are not told.

    Args:
        busy: whether something is under way that must not be cut off when another process fails,
            for up to half a minute.
    """
    if busy:
        _busy.append(busy)
    try:
        yield
    except (StoppedError, NonFiniteError, SystemExit):
        raise
    except BaseException as error:
        if service := _service():
            _tell(service, _line(service, error))
            if isinstance(error, KeyboardInterrupt):
                _end(service, error)  # at once, whatever else is to be closed
        raise
    finally:
        if busy:
            _busy.remove(busy)


@contextmanager
def ending_together() -> Iterator[None]:
    """Around the work of a program: an error here ends this process and the others.

    Each prints the reason of the first that failed. Alone, the error is raised as usual.
    """
    try:
        with told():
            yield
    except (StoppedError, NonFiniteError):
        raise
    except Exception as error:
        if service := _service():
            _end(service, error)
        raise


def end_on_sigterm() -> None:
    """From here on SIGTERM ends this process and the others; a single process ends by itself.

    JAX's coordination service takes the signal, so that a training can stop between two steps
    (`reached_preemption_sync_point`); this takes it from the service for good.
    """
    if _service() and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)


def _terminate(number: int, frame: FrameType | None) -> None:
    if service := _service():
        line = f"process {service.process_id}: stopped by {signal.Signals(number).name}"
        _tell(service, line)
        _leave(service, _reason(service) or line, 128 + number)
    os._exit(128 + number)  # the service is shut down already


def _service() -> Any:
    """JAX's end of the coordination service; None if this process is alone.

    JAX has no public call for the key-value store, nothing else carries text while the devices
    wait, and there is no shared folder before a workdir is opened. If another version of JAX has it
    elsewhere, the processes still end, without the reason.
    """
    try:
        from jax._src.distributed import global_state

        return global_state if global_state.client else None
    except (ImportError, AttributeError):
        return None


def _tell(service: Any, line: str) -> None:
    with suppress(*_SERVICE_ERRORS):  # the line of the first one stays
        service.client.key_value_set(f"{_REASON}/process", line)


def _reason(service: Any) -> str | None:
    """The line of the first process that failed; None if none has, or the service is gone."""
    with suppress(*_SERVICE_ERRORS):
        for _, line in service.client.key_value_dir_get(_REASON):
            return line
    return None


def _line(service: Any, error: BaseException) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, KeyboardInterrupt):
        text = "interrupted"
    elif any(sign in text for sign in _GONE):
        text = f"{_ANOTHER_GONE} ({text[:200]})"
    elif not isinstance(error, InputError):
        text = f"{type(error).__name__}: {text[:300]}".removesuffix(": ")
    return f"process {service.process_id}: {text}"


def _end(service: Any, error: BaseException) -> NoReturn:
    """Ends this process, which has told its error."""
    own = _line(service, error)
    line = _reason(service) or own
    interrupted = isinstance(error, KeyboardInterrupt)
    unexpected = not interrupted and not isinstance(error, InputError) and _ANOTHER_GONE not in own
    if line == own and unexpected:
        traceback.print_exception(error)
    _leave(service, line, 130 if interrupted else 1)


def _watch() -> None:
    line = None
    while line is None:
        time.sleep(_POLL_SECONDS)
        service = _service()
        if service is None:  # shut down
            return
        line = _reason(service)
    give_up = time.monotonic() + _BUSY_SECONDS
    # The main thread of the process that failed ends it, unless something that it closes hangs.
    own = line.startswith(f"process {service.process_id}:")
    time.sleep(_BUSY_SECONDS if own else _POLL_SECONDS)
    while time.monotonic() < give_up and any(busy() for busy in list(_busy)):
        time.sleep(_POLL_SECONDS)
    _leave(service, line, 1)


def _leave(service: Any, line: str, status: int) -> NoReturn:
    """Prints the reason and ends the process, from whatever thread, without JAX's shutdown.

    The service ends with process 0, while others may still have to ask it for the reason: all meet.
    """
    _leaving.acquire()
    print(f"error: {line}", file=sys.stderr, flush=True)
    with suppress(*_SERVICE_ERRORS):
        service.client.wait_at_barrier(_ENDING, _ENDING_MILLISECONDS)
    sys.stdout.flush()
    os._exit(status)
