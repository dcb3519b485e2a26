"""Trainings in processes of their own that begin with everything imported, and a fault in them."""

import logging
import multiprocessing
import os
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
        FAULTS[fault]()
    try:
        train(config_of(root, **changes), workdir)
    except InputError as error:
        sys.exit(f"error: {error}")
    except StoppedError as stop:
        sys.exit(128 + stop.signal)


def _call_before(owner: Any, name: str, number: int, act: Callable[[], None]) -> None:
    """Has the number-th call of a method or function do something first."""
    original, calls = getattr(owner, name), 0

    def wrapped(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            act()
        return original(*arguments, **named)

    setattr(owner, name, wrapped)


def _terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _sigterm_while_compiling() -> None:
    from harmony_jax.data.training_data import TrainingData

    _call_before(TrainingData, "next", 1, _terminate)


def _sigterm_while_training() -> None:
    from harmony_jax.data.training_data import TrainingData

    _call_before(TrainingData, "next", 7, _terminate)


def _sigterm_while_validating() -> None:
    from harmony_jax.evaluation import evaluator

    _call_before(evaluator, "_to_host", 1, _terminate)  # after the first batch


def _sigterm_while_saving() -> None:
    from harmony_jax.weights.checkpoint import Checkpoints

    _call_before(Checkpoints, "_list_files", 2, _terminate)  # all written, not yet in its place


def _eio_on_a_read() -> None:
    from harmony_jax import disk

    def fail() -> None:
        raise OSError(5, "Input/output error")

    _call_before(disk.Path, "read_bytes", 60, fail)


def _enospc_on_a_write() -> None:
    from harmony_jax.weights import checkpoint

    def fail() -> None:
        raise OSError(28, "No space left on device")

    _call_before(checkpoint, "list_files", 2, fail)


def _worker_killed() -> None:
    from harmony_jax.data.training_data import TrainingData

    def kill() -> None:
        for child in multiprocessing.active_children():
            child.kill()

    _call_before(TrainingData, "next", 5, kill)


FAULTS = {
    "SIGTERM while compiling": _sigterm_while_compiling,
    "SIGTERM while training": _sigterm_while_training,
    "SIGTERM while validating": _sigterm_while_validating,
    "SIGTERM while saving": _sigterm_while_saving,
    "EIO on a read": _eio_on_a_read,
    "ENOSPC on a write": _enospc_on_a_write,
    "a data worker killed": _worker_killed,
}
