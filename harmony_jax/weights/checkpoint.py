"""Checkpoints of a run: a folder a step, with the model apart from the optimizer.

`WORKDIR/checkpoints/STEP/` holds `model` (parameters and running statistics), `optimizer` and
`metadata` (the model's name and arguments, image size, config, data, code version, checksums),
`files.json` (`intact.py`) and, once the step was validated, `validation.json`. Inference reads
model and metadata alone.

A training with a moving average of the parameters (`train.ema_decay`) saves that in `model`, and
the parameters, which it continues from, inside `optimizer` (`harmony_jax.training.averaging`).

The step says where the data iterator stands and, with the config's seed, which random keys are
next: batches and keys are functions of the two.
"""

import errno
import json
import logging
import os
import re
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint.checkpoint_managers import PreservationContext, PreservationPolicy

from harmony_jax.disk import write_file
from harmony_jax.errors import InputError
from harmony_jax.variables import Variables
from harmony_jax.weights.intact import find_damage, list_files
from harmony_jax.weights.steps import FOLDER, saved_steps

Metadata = dict[str, Any]

# Metrics of a validation, and which value of each is best.
BEST: dict[str, Callable[..., Any]] = {"MSE": min, "fMSE": min, "PSNR": max}

CHECKSUMS = "checksums"  # in the metadata: item to the checksum of its arrays

_VALIDATION = "validation.json"
_OLDER_VALIDATION = "metrics/metrics"  # where it was when it was saved with the arrays

_WRITE_ERRORS = (OSError, ValueError, RuntimeError)

# What a read of files says that are short or changed, where no list tells; all else, such as
# RESOURCE_EXHAUSTED for want of file handles, may be gone at the next try.
_DAMAGE = re.compile(r"DATA_LOSS|NOT_FOUND|OUT_OF_RANGE|FAILED_PRECONDITION|INVALID_ARGUMENT")

_BESIDE_ARRAYS = 2**24  # bytes on disk at most: metadata, indices, TensorBoard files

_LISTED_KEYS = 5  # of a tree that differs

_LOGGER = logging.getLogger(__name__)


class DamagedCheckpointError(InputError):
    """A checkpoint that was cut short or changed on disk."""


class Restored(NamedTuple):
    """Where training continues."""

    step: int
    variables: Variables
    optimizer: Any
    metadata: Metadata


class _NewestAndBest(PreservationPolicy):
    """Keeps the newest, and the best of those validated; `keep_newest` None keeps all."""

    def __init__(self, checkpoints: "Checkpoints", keep_newest: int | None, best_metric: str):
        self._checkpoints, self._newest, self._metric = checkpoints, keep_newest, best_metric

    def should_preserve(
        self, checkpoints: Sequence[Any], *, context: PreservationContext
    ) -> Sequence[bool]:
        steps = [checkpoint.step for checkpoint in checkpoints]
        if self._newest is None:
            return [True] * len(steps)
        best = self._checkpoints.best_of(steps, self._metric)
        return [step in steps[-self._newest :] or step == best for step in steps]


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
        options = ocp.CheckpointManagerOptions(
            preservation_policy=_NewestAndBest(self, keep_newest, best_metric),
            create=True,
            cleanup_tmp_directories=keep_newest is not None,
            async_options=ocp.AsyncOptions(post_finalization_callback=self._list_files),
        )
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def newest_step(self) -> int | None:
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        """The best by the run's metric on the validation set; the newest if none was validated."""
        newest = self.newest_step()
        if newest is None:
            return None
        section = self.metadata(newest).get("config", {}).get("checkpoint", {})
        best = self.best_of(self._manager.all_steps(), section.get("best_metric") or "MSE")
        return newest if best is None else best

    def best_of(self, steps: Sequence[int], metric: str) -> int | None:
        """The best of some steps by a metric of their validation; None if none was validated."""
        validated = {step: found[metric] for step in steps if (found := self.validation(step))}
        return BEST[metric](validated, key=validated.__getitem__) if validated else None

    def validation(self, step: int) -> dict[str, float] | None:
        """The metrics of a step's validation, or None if it has not been validated."""
        for name in (_VALIDATION, _OLDER_VALIDATION):
            try:
                return json.loads((self.folder / str(step) / name).read_bytes())
            except FileNotFoundError:
                continue
        return None

    def save(
        self, step: int, variables: Variables, optimizer_state: Any, metadata: Metadata
    ) -> None:
        """Copies the arrays and returns; they are written in the background.

        Args:
            step: steps done; greater than that of any checkpoint there.
            variables, optimizer_state: arrays on any mesh.
            metadata: as JSON holds it.

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
            )

    def add_validation(self, step: int, metrics: Mapping[str, float]) -> None:
        """Adds to a saved step the metrics that rank it.

        Raises:
            InputError: the checkpoint, or this, cannot be written.
        """
        with self._reporting_errors():
            self._manager.wait_until_finished()
        if jax.process_index() == 0:
            write_file(self.folder / str(step) / _VALIDATION, json.dumps(dict(metrics)).encode())

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
            InputError: all checkpoints are damaged, or one cannot be read though it is intact,
                which changes nothing; or what `check` raised.
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
                f"{self.folder}: no checkpoint is intact ({damaged[0][1]}): they stay as they are; "
                "to begin anew, choose another workdir"
            )
        return None

    def metadata(self, step: int) -> Metadata:
        """What was saved beside the arrays.

        Raises:
            DamagedCheckpointError: it is not as it was written.
            InputError: it cannot be read.
        """
        return self._restore(step, metadata=ocp.args.JsonRestore()).metadata

    def model(self, step: int, abstract: Variables) -> Variables:
        """Reads parameters and statistics, on the devices that `abstract` names.

        Raises:
            DamagedCheckpointError: they are not as they were written.
            InputError: they cannot be read, or are those of another model.
        """
        found = self._arrays(step, "model", abstract._asdict())
        return Variables(**found)

    def optimizer_state(self, step: int, abstract: Any) -> Any:
        """Reads the optimizer's state, as `model`."""
        return self._arrays(step, "optimizer", abstract)

    def close(self) -> None:
        """Waits for checkpoints still being written.

        Raises:
            InputError: they cannot be.
        """
        with self._reporting_errors():
            self._manager.wait_until_finished()
        self._manager.close()

    def _arrays(self, step: int, item: str, abstract: Any) -> Any:
        folder = self.folder / str(step)
        with _reading(folder, item):
            on_disk = ocp.StandardCheckpointHandler().metadata(folder.absolute() / item)
        _check_tree(folder, item, on_disk, abstract)
        found = self._restore(step, **{item: ocp.args.StandardRestore(abstract)})[item]
        saved = self.metadata(step).get(CHECKSUMS, {}).get(item)
        if saved is not None and saved != checksum(found):
            raise DamagedCheckpointError(
                f"{folder}: damaged checkpoint, {item} differs from what was saved: choose another"
            )
        return found

    def _restore(self, step: int, **items: Any) -> Any:
        with _reading(self.folder / str(step), *items):
            return self._manager.restore(step, args=ocp.args.Composite(**items))

    def _move_aside(self, step: int, reason: str) -> None:
        target = self.folder.parent / "damaged" / str(step)
        if jax.process_index() == 0:
            shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(exist_ok=True)
            (self.folder / str(step)).rename(target)
        _LOGGER.warning("%s; moved to %s", reason.removesuffix(": choose another"), target)

    def _list_files(self) -> None:
        """When a step's files are all written, and before its folder gets its name."""
        if jax.process_index() == 0:
            unnamed = [p for p in self.folder.iterdir() if re.match(r"\d+\.", p.name)]
            newest = max(unnamed, key=lambda path: path.stat().st_mtime)
            list_files(newest, "model", "optimizer", "metadata")

    @contextmanager
    def _reporting_errors(self) -> Iterator[None]:
        try:
            yield
        except _WRITE_ERRORS as error:
            reason = _one_line(error)
            steps = saved_steps(self.folder)
            left = f"step {max(steps)} is the newest intact one" if steps else "there is none yet"
            raise InputError(
                f"{self.folder}: a checkpoint cannot be written ({reason}), {left}: make room and "
                "run the same command again"
            ) from error


def open_checkpoint(path: Path) -> tuple[Checkpoints, int]:
    """Finds the checkpoint that a path stands for.

    Args:
        path: a workdir, its `checkpoints` folder, or one step's folder.

    Returns:
        The checkpoints of that folder, and the step: the named one, else the best by validation,
        else the newest.

    Raises:
        InputError: there is none.
    """
    path = Path(path)
    folder, step = path, None
    if (path / FOLDER).is_dir():
        folder = path / FOLDER
    elif path.name.isdigit():
        folder, step = path.parent, int(path.name)
    steps = saved_steps(folder)
    if not steps or (step is not None and step not in steps):
        raise InputError(
            f"{path}: no checkpoint there: pass a workdir that was trained in, or one of its "
            f"{FOLDER}/STEP folders"
        )
    checkpoints = Checkpoints(folder)
    if step is None:
        step = checkpoints.best_step()
    return checkpoints, max(steps) if step is None else step


def with_sharding(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    """Shapes and types of a tree's arrays, to be restored with the given sharding."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
    )


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
def _reading(folder: Path, *items: str) -> Iterator[None]:
    """Looks first whether some items of a step are intact; then tells damage from other errors."""
    try:
        damage = find_damage(folder, *items)
        if damage is None:
            yield
    except Exception as error:
        reason = _one_line(error)
        if not _is_damage(error):
            raise InputError(
                f"{folder}: {', '.join(items)} cannot be read ({reason}): the checkpoint stays as "
                "it is; run the same command again"
            ) from error
        damage = f"{', '.join(items)} cannot be read ({reason})"
    if damage is not None:
        raise DamagedCheckpointError(f"{folder}: damaged checkpoint, {damage}: choose another")


def _check_tree(folder: Path, item: str, on_disk: Any, abstract: Any) -> None:
    """Raises InputError, naming keys, unless a tree on disk has the keys and shapes asked for."""
    found, wanted = _shapes(on_disk), _shapes(abstract)
    differences = {
        "lacks": sorted(wanted.keys() - found.keys()),
        "has besides": sorted(found.keys() - wanted.keys()),
        "has in another shape": [
            f"{key} {found[key]} instead of {wanted[key]}"
            for key in sorted(wanted.keys() & found.keys())
            if found[key] != wanted[key]
        ],
    }
    if texts := [f"{what} {_some(keys)}" for what, keys in differences.items() if keys]:
        raise InputError(
            f"{folder}: {item} was written by other code or another config: it {'; '.join(texts)}: "
            "use the code and config it was written with, or another workdir"
        )


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): tuple(leaf.shape)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _some(keys: list[str]) -> str:
    more = len(keys) - _LISTED_KEYS
    return ", ".join(keys[:_LISTED_KEYS]) + (f" and {more} more" if more > 0 else "")


def _is_damage(error: Exception) -> bool:
    if isinstance(error, (FileNotFoundError, KeyError, json.JSONDecodeError)):
        return True
    return not isinstance(error, OSError) and bool(_DAMAGE.match(str(error)))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _on_any_process(value: bool) -> bool:
    if jax.process_count() == 1:
        return value
    return bool(np.any(multihost_utils.process_allgather(np.array(value))))
