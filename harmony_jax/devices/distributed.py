"""Joining the processes of several hosts to one training."""

import importlib.util
import logging
import os
from pathlib import Path

import jax

from harmony_jax.errors import InputError

_LOGGER = logging.getLogger(__name__)


def join_processes(
    coordinator: str | None, num_processes: int | None, process_id: int | None
) -> None:
    """Makes this process one of several, before anything else is done with JAX.

    On Cloud TPU the other hosts of the slice are found without arguments; without arguments
    elsewhere this process is alone.

    Args:
        coordinator: HOST:PORT of process 0, at which the processes meet.
        num_processes: how many there are.
        process_id: which one this is, from 0.

    Raises:
        InputError: only some of the three are given, or the processes do not meet.
    """
    given = [value is not None for value in (coordinator, num_processes, process_id)]
    if any(given) and not all(given):
        raise InputError(
            "--coordinator, --num_processes and --process_id: pass all three, or none of them"
        )
    if coordinator is not None:
        assert num_processes is not None
        assert process_id is not None
        host, _, port = coordinator.rpartition(":")
        if not host or not port.isdigit():
            raise InputError(f"--coordinator {coordinator!r}: expected HOST:PORT of process 0")
        if not 0 <= process_id < num_processes:
            raise InputError(
                f"--process_id {process_id}: must be from 0 to --num_processes less one "
                f"({num_processes - 1})"
            )
        try:
            jax.distributed.initialize(coordinator, num_processes, process_id)
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            raise InputError(
                f"--coordinator {coordinator}: {num_processes} processes did not meet ({reason})"
            ) from error
    elif _on_cloud_tpu():
        try:
            jax.distributed.initialize()
        except ValueError as error:  # a TPU without the metadata of a slice
            _LOGGER.warning("No other host of this TPU was found (%s); going on alone", error)


def _on_cloud_tpu() -> bool:
    """Whether this host has TPU chips and JAX would use them."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    devices = [*Path("/dev").glob("accel[0-9]*"), *Path("/dev/vfio").glob("[0-9]*")]
    return (
        importlib.util.find_spec("libtpu") is not None
        and bool(devices)
        and (not platforms or "tpu" in platforms.split(","))
    )
