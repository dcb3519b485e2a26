"""Trainings in processes of their own that begin with everything imported, and a fault in them."""

import logging
import multiprocessing
import os
import pkgutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harmony_jax.devices.compilation_cache import keep_compiled_programs
from harmony_jax.errors import InputError, StoppedError
from tests.made_data import tiny_config

STEPS = 15  # 6 epochs of 10 samples in batches of 4


def config_of(root: Path, **changes: Any):
    """Saves after every epoch, validates after every other one."""
    config = tiny_config(root)
    config.train.epochs = 6
    config.optimizer.milestones = (3,)
    config.checkpoint.keep_newest = 3
    config.evaluation.num_pictures = 0
    config.update_from_flattened_dict(changes)
    return config


def start(
    root: Path, workdir: Path, cache: Path, fault: str = "", **changes: Any
) -> multiprocessing.Process:
    """Begins or continues the training of a workdir; `fault` names one of `FAULTS`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training.forked", "harmony_jax.training.loop"])
    arguments = (root, workdir, cache, fault, changes)
    process = context.Process(target=_train, args=arguments)
    process.start()
    return process


def status(process: multiprocessing.Process) -> int:
    """The exit status of a training that ends by itself."""
    process.join(120)
    if process.exitcode is None:
        process.kill()
    assert process.exitcode is not None
    return process.exitcode


def _train(root: Path, workdir: Path, cache: Path, fault: str, changes: dict[str, Any]) -> None:
    from harmony_jax.training.loop import train

    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache)
    sys.stderr = (workdir / "log.txt").open("a", buffering=1)
    logger = logging.getLogger("harmony_jax")  # ours alone: orbax tells of a full disk at length
    logger.addHandler(logging.StreamHandler(sys.stderr))
    logger.setLevel(logging.INFO)
    keep_compiled_programs()
    if fault:
        _prepare(fault)
    try:
        train(config_of(root, **changes), workdir)
    except InputError as error:
        sys.exit(f"error: {error}")
    except StoppedError as stop:
        sys.exit(128 + stop.signal)


def _terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _fail_to_read() -> None:
    raise OSError(5, "Input/output error")


def _fail_to_write() -> None:
    raise OSError(28, "No space left on device")


def _kill_workers() -> None:
    for child in multiprocessing.active_children():
        child.kill()


# What happens before which call of a method or function.
FAULTS: dict[str, tuple[str, int, Callable[[], None]]] = {
    "SIGTERM while compiling": ("data.training_data.TrainingData.next", 1, _terminate),
    "SIGTERM while training": ("data.training_data.TrainingData.next", 7, _terminate),
    # After the first batch.
    "SIGTERM while validating": ("evaluation.evaluator._to_host", 1, _terminate),
    # All files are written, and the folder does not have its name yet.
    "SIGTERM while saving": ("weights.checkpoint.Checkpoints._list_files", 2, _terminate),
    "EIO on a read": ("disk.Path.read_bytes", 60, _fail_to_read),
    "ENOSPC on a write": ("weights.checkpoint.list_files", 2, _fail_to_write),
    "a data worker killed": ("data.training_data.TrainingData.next", 5, _kill_workers),
}


def _prepare(fault: str) -> None:
    place, number, act = FAULTS[fault]
    owner_name, _, name = place.rpartition(".")
    owner = pkgutil.resolve_name(f"harmony_jax.{owner_name}")
    original, calls = getattr(owner, name), 0

    def wrapped(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            act()
        return original(*arguments, **named)

    setattr(owner, name, wrapped)
