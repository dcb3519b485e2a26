"""Joining the processes of several hosts to one training."""

import errno
import importlib.util
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from harmony_jax.devices import failures
from harmony_jax.devices.launchers import launched, own_gpus
from harmony_jax.errors import InputError

_SAY_SECONDS = 10.0
_MEET_SECONDS = 300.0
_TIMEOUTS: dict[str, Any] = {
    "initialization_timeout": round(2 * _MEET_SECONDS),  # longer than `_saying` waits
    "heartbeat_timeout_seconds": 40,  # JAX's own 100 seconds are more than a minute
}

_LOGGER = logging.getLogger(__name__)


def join_processes(
    coordinator: str | None, num_processes: int | None, process_id: int | None
) -> None:
    """Makes this process one of several, before anything else is done with JAX.

    On Cloud TPU, and under Slurm's srun and Open MPI's mpirun, the others are found without
    arguments; elsewhere, without arguments, this process is alone. It waits up to 5 minutes for the
    others, and says so after 10 seconds; if they do not come, it ends the program with one line,
    where JAX would print pages. From then on the processes end together
    (`harmony_jax.devices.failures`).

    Args:
        coordinator: HOST:PORT of process 0, where the processes meet; a launcher's choice if None.
        num_processes, process_id: how many there are, and which one this is, from 0.
    """
    started_by, gpus = "", []  # JAX would take one GPU wherever there are a launcher's variables
    if num_processes is None and process_id is None and (process := launched()):
        started_by, gpus = f" (started by {process.launcher})", own_gpus(process)
        num_processes, process_id = process.total, process.rank
    if coordinator is not None and num_processes is not None and process_id is not None:
        if not 0 <= process_id < num_processes:
            raise InputError(f"process_id {process_id}: choose 0 to {num_processes - 1}")
        _check_address(coordinator, listens=process_id == 0)
        waiting = (
            f"for {num_processes} processes to meet at {coordinator}: is each of them started, and "
            "process 0 on that host?"
        )
    elif started_by:
        waiting = f"for the {num_processes} processes{started_by}"
    elif (coordinator, num_processes, process_id) != (None, None, None):
        raise InputError("coordinator, num_processes and process_id: pass all three, or none")
    elif _on_cloud_tpu():
        waiting = "for the slice's other hosts: start the same command on each"
    else:
        return
    try:
        with _saying(waiting):
            jax.distributed.initialize(coordinator, num_processes, process_id, gpus, **_TIMEOUTS)
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"the processes did not meet ({reason}); waited {waiting}") from error
    except ValueError as error:  # no coordinator, or a TPU without the metadata of a slice
        if started_by:
            raise InputError(
                f"{num_processes} processes{started_by}: nothing says where they meet: pass "
                "HOST:PORT of process 0 as coordinator"
            ) from error
        _LOGGER.warning("No other host of this TPU was found (%s); going on alone", error)
    failures.watch()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)  # the others are to be told
    _LOGGER.info(
        "Process %d of %d%s: %d of all %d devices",
        *(jax.process_index(), jax.process_count(), started_by),
        *(jax.local_device_count(), jax.device_count()),
    )


def as_first_process(value: int) -> int:
    """The first process's value, for all of them: what each finds on disk may differ."""
    if jax.process_count() == 1:
        return value
    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def _check_address(coordinator: str, listens: bool) -> None:
    """Raises InputError for an unknown host, or a port at which process 0 cannot listen."""
    host, _, digits = coordinator.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")  # around an IPv6 address
    if not (host and digits.isascii() and digits.isdigit() and 0 < int(digits) < 2**16):
        raise InputError(f"coordinator {coordinator!r}: expected HOST:PORT of process 0")
    port = int(digits)
    try:
        socket.getaddrinfo(host, port)
    except OSError as error:
        raise InputError(
            f"coordinator {coordinator}: no host {host!r} is known ({error.strerror}): pass the "
            "name or address of process 0's host"
        ) from error
    if not listens:
        return
    try:
        with socket.socket(socket.AF_INET6) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("::", port))
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EACCES):  # JAX would crash
            raise InputError(
                f"coordinator {coordinator}: process 0 cannot use port {port} "
                f"({error.strerror}): choose another, the same for all processes"
            ) from error


@contextmanager
def _saying(waiting: str) -> Iterator[None]:
    """Says what is waited for if it takes long, and ends the program if it takes too long.

    JAX waits outside of Python; here Ctrl-C ends the program at once.
    """
    met = threading.Event()

    def say() -> None:
        if met.wait(_SAY_SECONDS):
            return
        _LOGGER.warning("Waiting %s (up to %.0f s)", waiting, _MEET_SECONDS)
        if met.wait(_MEET_SECONDS - _SAY_SECONDS):
            return
        print(f"error: waited {_MEET_SECONDS:.0f} s {waiting}", file=sys.stderr, flush=True)
        os._exit(1)

    threading.Thread(target=say, daemon=True).start()
    in_main = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGINT, signal.SIG_DFL) if in_main else None
    try:
        yield
    finally:
        met.set()
        if in_main:
            signal.signal(signal.SIGINT, previous)


def _on_cloud_tpu() -> bool:
    """Whether this host has TPU chips and JAX would use them."""
    devices = [*Path("/dev").glob("accel[0-9]*"), *Path("/dev/vfio").glob("[0-9]*")]
    wanted = os.environ.get("JAX_PLATFORMS") or "tpu"
    return bool(devices and importlib.util.find_spec("libtpu")) and "tpu" in wanted.split(",")
