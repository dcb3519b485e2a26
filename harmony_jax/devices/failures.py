"""When one of several processes fails, all of them end, with that process's reason in one line.

A process that waits for another one in a computation cannot be interrupted. So the one that fails
leaves its reason with JAX's coordination service; a thread of every other one looks for it, says it
and ends the process. A killed process leaves none: JAX's heartbeat ends the others then.
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

_REASON, _LEFT = "harmony_jax/failure", "harmony_jax/left"  # folders of the service's keys

_POLL_SECONDS = 1.0
_BUSY_SECONDS = 30.0  # for what must not be cut off; with the others well within a minute
_LEAVING_SECONDS = 10.0  # that the first process, whose end ends the service, stays for the others

# What the libraries say when the process at the other end is gone.
_GONE = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Socket closed",
    "stopped sending heartbeats",
)

_SERVICE_ERRORS = (RuntimeError, ValueError)  # a key that is there already, or no connection

_busy: list[Callable[[], bool]] = []
_leaving = threading.Lock()  # taken by the thread that ends the process, and kept


def watch() -> None:
    """From here on this process ends when another one fails; alone it does nothing."""
    if _service() is not None:
        threading.Thread(target=_watch, name="failures", daemon=True).start()


@contextmanager
def told(busy: Callable[[], bool] | None = None) -> Iterator[None]:
    """Tells the other processes of an error as soon as it leaves this context.

    What is closed after it may need the others, who would wait for this process: enter it behind
    that. Errors that all processes raise together are not told.

    Args:
        busy: whether something is under way that is not to be cut off when another process fails,
            for up to half a minute.
    """
    if busy:
        _busy.append(busy)
    try:
        yield
    except (StoppedError, NonFiniteError, SystemExit):
        raise
    except BaseException as error:
        service = _service()
        if service is not None:
            _tell(service, _line(service, error))
        if isinstance(error, KeyboardInterrupt):
            _end(error)  # who interrupts does not wait for what else is to be closed
        raise
    finally:
        if busy:
            _busy.remove(busy)


@contextmanager
def ending_together() -> Iterator[None]:
    """Around the work of a program: an error here ends this process and the others.

    Each says the reason of the first that failed. Alone, the error is raised as ever.
    """
    try:
        with told():
            yield
    except (StoppedError, NonFiniteError):
        raise
    except Exception as error:
        _end(error)
        raise


def end_on_sigterm() -> None:
    """From here on SIGTERM ends this process and the others; alone it does so by itself.

    JAX's coordination service takes the signal, for a training to stop between two steps
    (`reached_preemption_sync_point`); this takes it from the service, for good.
    """
    if _service() is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)


def _terminate(number: int, frame: FrameType | None) -> None:
    service = _service()
    if service is None:  # shut down already
        os._exit(128 + number)
    line = f"process {service.process_id}: stopped by {signal.Signals(number).name}"
    _tell(service, line)
    _leave(service, _reason(service) or line, 128 + number)


def _service() -> Any:
    """JAX's end of the coordination service; None if this process is alone.

    Private to JAX: as jax 0.10.2 and 0.12.0 have it. Without it only the reasons are lost.
    """
    try:
        from jax._src.distributed import global_state

        if global_state.client is None:
            return None
        # All that is used of it.
        _ = global_state.process_id, global_state.num_processes
        _ = global_state.client.key_value_set, global_state.client.key_value_dir_get
    except (ImportError, AttributeError):
        return None
    return global_state


def _tell(service: Any, line: str) -> None:
    with suppress(*_SERVICE_ERRORS):  # the line of the first one stays
        service.client.key_value_set(f"{_REASON}/process", line)


def _end(error: BaseException) -> None:
    """Ends this process, which has told its error; alone it returns."""
    service = _service()
    if service is None:
        return
    own = _line(service, error)
    line = _reason(service) or own
    if line == own and not _is_expected(error):
        traceback.print_exception(error)
    _leave(service, line, 130 if isinstance(error, KeyboardInterrupt) else 1)


def _line(service: Any, error: BaseException) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, KeyboardInterrupt):
        text = "interrupted"
    elif _is_of_another(error):
        text = f"another process is gone, killed or with its machine ({text[:200]})"
    elif not isinstance(error, InputError):
        text = f"{type(error).__name__}: {text[:300]}".removesuffix(": ")
    return f"process {service.process_id}: {text}"


def _is_of_another(error: BaseException) -> bool:
    return any(sign in str(error) for sign in _GONE)


def _is_expected(error: BaseException) -> bool:
    return isinstance(error, (InputError, KeyboardInterrupt)) or _is_of_another(error)


def _reason(service: Any) -> str | None:
    """The line of the first process that failed; None if none has, or the service is gone."""
    with suppress(*_SERVICE_ERRORS):
        for _, line in service.client.key_value_dir_get(_REASON):
            return line
    return None


def _watch() -> None:
    line = None
    while line is None:
        time.sleep(_POLL_SECONDS)
        service = _service()
        if service is None:  # shut down
            return
        line = _reason(service)
    give_up = time.monotonic() + _BUSY_SECONDS
    own = line.startswith(f"process {service.process_id}:")
    # The one that failed has a main thread to end it, unless what that closes hangs.
    time.sleep(_BUSY_SECONDS if own else _POLL_SECONDS)
    while time.monotonic() < give_up and any(busy() for busy in list(_busy)):
        time.sleep(_POLL_SECONDS)
    _leave(service, line, 1)


def _leave(service: Any, line: str, status: int) -> NoReturn:
    """Says why and ends the process from whatever thread, without JAX's waiting for the others."""
    _leaving.acquire()
    print(f"error: {line}", file=sys.stderr, flush=True)
    others = service.num_processes - 1
    with suppress(*_SERVICE_ERRORS):
        if service.process_id:
            service.client.key_value_set(f"{_LEFT}/{service.process_id}", "")
        else:
            give_up = time.monotonic() + _LEAVING_SECONDS
            while (
                len(service.client.key_value_dir_get(_LEFT)) < others and time.monotonic() < give_up
            ):
                time.sleep(_POLL_SECONDS / 10)
    sys.stdout.flush()
    os._exit(status)
