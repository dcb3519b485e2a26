"""Checkpoints of a run: a folder a step, with the model apart from the optimizer.

`WORKDIR/checkpoints/STEP/` holds `model` (parameters and running statistics), `optimizer` and
`metadata` (the model's name and arguments, image size, config, data, code version, checksums), and
`metrics` if the step was validated. Inference reads model and metadata alone.

A training with a moving average of the parameters (`train.ema_decay`) saves that in `model`, and
the parameters, which it continues from, inside `optimizer` (`harmony_jax.training.averaging`).

The step says where the data iterator stands and, with the config's seed, which random keys are
next: batches and keys are functions of the two.
"""

import errno
import gc
import logging
import os
import shutil
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from harmony_jax.errors import InputError
from harmony_jax.variables import Variables
from harmony_jax.weights.steps import saved_steps

Metadata = dict[str, Any]

# Metrics of a validation, and which value of each is best.
BEST: dict[str, Callable[..., Any]] = {"MSE": min, "fMSE": min, "PSNR": max}

CHECKSUMS = "checksums"  # in the metadata: item to the checksum of its arrays

# What orbax and the libraries beneath raise for files that are not as they wrote them.
_READ_ERRORS = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError)
_WRITE_ERRORS = (OSError, ValueError, RuntimeError)

_BESIDE_ARRAYS = 2**24  # bytes on disk at most: metadata, indices, TensorBoard files

_ABANDONED_SECONDS = 0.3  # until reads that were begun beside one that failed are over

_LOGGER = logging.getLogger(__name__)


class DamagedCheckpointError(InputError):
    """A checkpoint that was cut short or changed on disk."""


class Restored(NamedTuple):
    """Where training continues."""

    step: int
    variables: Variables
    optimizer: Any
    metadata: Metadata


class Checkpoints:
    """The checkpoints of one folder.

    Args:
        folder: holds a folder a step; made if it is not there.
        keep_newest: how many of the newest to keep besides the best; None keeps all, and is for
            reading.
        best_metric: which metric of a validation ranks checkpoints, a key of BEST.

    Raises:
        InputError: an unknown metric.
    """

    def __init__(self, folder: Path, keep_newest: int | None = None, best_metric: str = "MSE"):
        if best_metric not in BEST:
            raise InputError(
                f"checkpoint.best_metric {best_metric!r}: choose {', '.join(map(repr, BEST))}"
            )
        self.folder = folder
        policy = None
        if keep_newest is not None:
            # Without validation no checkpoint has metrics, and the newest stay.
            best = BestN(
                get_metric_fn=itemgetter(best_metric),
                reverse=BEST[best_metric] is min,  # ranked last is best
                n=1,
                keep_checkpoints_without_metrics=False,
            )
            policy = AnyPreservationPolicy([LatestN(n=keep_newest), best])
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy,
            best_fn=itemgetter(best_metric),
            best_mode=BEST[best_metric].__name__,
            create=True,
            cleanup_tmp_directories=keep_newest is not None,
        )
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def newest_step(self) -> int | None:
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        """The best by the run's metric on the validation set; the newest if none was validated."""
        newest = self.newest_step()
        if newest is None:
            return None
        metric = self.metadata(newest).get("config", {}).get("checkpoint", {}).get("best_metric")
        validated = {
            step: metrics[metric or "MSE"]
            for step in self._manager.all_steps()
            if (metrics := self._manager.metrics(step))
        }
        if not validated:
            return newest
        return BEST[metric or "MSE"](validated, key=lambda step: validated[step])

    def save(
        self,
        step: int,
        variables: Variables,
        optimizer_state: Any,
        metadata: Metadata,
        validation: Mapping[str, float] | None,
    ) -> None:
        """Copies the arrays and returns; they are written in the background.

        Args:
            step: steps done; greater than that of any checkpoint there.
            variables, optimizer_state: arrays on any mesh.
            metadata: as JSON holds it.
            validation: metrics that rank the checkpoint.

        Raises:
            InputError: the disk is full, or this or the checkpoint before cannot be written.
        """
        arrays = {"model": variables._asdict(), "optimizer": optimizer_state}
        sums = {name: checksum(tree) for name, tree in arrays.items()}
        with self._reporting_errors():
            self._manager.wait_until_finished()  # then the one before is there, and old ones gone
            check_free_space(self.folder, arrays)
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    **{name: ocp.args.StandardSave(tree) for name, tree in arrays.items()},
                    metadata=ocp.args.JsonSave({**metadata, CHECKSUMS: sums}),
                ),
                metrics=dict(validation) if validation else None,
            )

    def restore_newest(
        self, variables: Variables, optimizer_state: Any, check: Callable[[Path, Metadata], None]
    ) -> Restored | None:
        """Reads the newest checkpoint that is intact; damaged ones are moved aside and named.

        Args:
            variables, optimizer_state: shapes, types and shardings (`jax.ShapeDtypeStruct`).
            check: raises InputError if training must not continue from a checkpoint, whose folder
                and metadata it takes.

        Returns:
            The checkpoint, or None if the folder has none.

        Raises:
            InputError: all checkpoints are damaged, or what `check` raised.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        damaged = []
        for step in steps:
            error = None
            try:
                metadata = self.metadata(step)
                check(self.folder / str(step), metadata)
                found = Restored(
                    step,
                    self.model(step, variables),
                    self.optimizer_state(step, optimizer_state),
                    metadata,
                )
            except DamagedCheckpointError as damage:
                error = damage
            if _on_any_process(error is not None):
                damaged.append((step, str(error or "damaged for another process")))
                continue
            for bad, reason in damaged:
                self._move_aside(bad, reason)
            if damaged:
                _on_any_process(True)  # nobody looks before all are moved
                self._manager.reload()
            return found
        if damaged:
            raise InputError(
                f"{self.folder}: no checkpoint is intact ({damaged[0][1]}): remove the folder to "
                "begin anew"
            )
        return None

    def metadata(self, step: int) -> Metadata:
        """What was saved beside the arrays.

        Raises:
            DamagedCheckpointError: it cannot be read.
        """
        return self._restore(step, metadata=ocp.args.JsonRestore()).metadata

    def model(self, step: int, abstract: Variables) -> Variables:
        """Reads parameters and statistics, on the devices that `abstract` names.

        Raises:
            DamagedCheckpointError: they cannot be read, or differ from what was saved.
        """
        target = ocp.args.StandardRestore(abstract._asdict())
        found = self._restore(step, model=target).model
        self._verify(step, "model", found)
        return Variables(**found)

    def optimizer_state(self, step: int, abstract: Any) -> Any:
        """Reads the optimizer's state, as `model`."""
        target = ocp.args.StandardRestore(abstract)
        found = self._restore(step, optimizer=target).optimizer
        self._verify(step, "optimizer", found)
        return found

    def close(self) -> None:
        """Waits for checkpoints still being written.

        Raises:
            InputError: they cannot be.
        """
        with self._reporting_errors():
            self._manager.wait_until_finished()
        self._manager.close()

    def _restore(self, step: int, **items: Any) -> Any:
        with _abandoned_reads_are_silent():
            try:
                return self._manager.restore(step, args=ocp.args.Composite(**items))
            except _READ_ERRORS as error:
                reason = " ".join(str(error).split())[:200]
            gc.collect()
            time.sleep(_ABANDONED_SECONDS)
        raise DamagedCheckpointError(
            f"{self.folder / str(step)}: damaged checkpoint, {', '.join(items)} cannot be read "
            f"({reason}): delete it to use an older one"
        )

    def _verify(self, step: int, name: str, arrays: Any) -> None:
        saved = self.metadata(step).get(CHECKSUMS, {}).get(name)
        if saved is not None and saved != checksum(arrays):
            raise DamagedCheckpointError(
                f"{self.folder / str(step)}: damaged checkpoint, {name} differs from what was "
                "saved: delete it to use an older one"
            )

    def _move_aside(self, step: int, reason: str) -> None:
        target = self.folder.parent / "damaged" / str(step)
        if jax.process_index() == 0:
            shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(exist_ok=True)
            (self.folder / str(step)).rename(target)
        _LOGGER.warning("%s; moved to %s", reason.partition(": delete")[0], target)

    @contextmanager
    def _reporting_errors(self) -> Iterator[None]:
        try:
            yield
        except _WRITE_ERRORS as error:
            reason = " ".join(str(error).split())[:300]
            steps = saved_steps(self.folder)
            left = f"step {max(steps)} is the newest intact one" if steps else "there is none yet"
            raise InputError(
                f"{self.folder}: a checkpoint cannot be written ({reason}), {left}: make room and "
                "run the same command again"
            ) from error


def checksum(arrays: Any) -> int:
    """CRC-32 of a tree's values, whatever devices they are on; the same on every process."""
    value = 0
    for leaf in jax.tree.leaves(arrays):
        if not (leaf.is_fully_addressable or leaf.is_fully_replicated):
            leaf = multihost_utils.process_allgather(leaf, tiled=True)
        elif not leaf.is_fully_addressable:
            leaf = leaf.addressable_data(0)
        value = zlib.crc32(np.ascontiguousarray(leaf).data, value)
    return value


def check_free_space(folder: Path, arrays: Any) -> None:
    """Raises OSError if a tree of arrays, and what stands beside it, do not fit on the disk.

    Met halfway, orbax would print a traceback for each array.
    """
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(arrays)) + _BESIDE_ARRAYS
    free = shutil.disk_usage(folder).free
    if free < needed:
        sizes = f"{needed / 1e6:.0f} MB needed, {free / 1e6:.0f} MB free"
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {sizes}")


@contextmanager
def _abandoned_reads_are_silent() -> Iterator[None]:
    """When one read fails, each that orbax leaves unfinished would complain on the terminal."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    logger = logging.getLogger("asyncio")
    disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        sys.unraisablehook = hook
        logger.disabled = disabled


def _on_any_process(value: bool) -> bool:
    if jax.process_count() == 1:
        return value
    return bool(np.any(multihost_utils.process_allgather(np.array(value))))
