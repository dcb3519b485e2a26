"""Checkpoints of a run: a folder for each step, with the model apart from the optimizer.

`WORKDIR/checkpoints/STEP/` holds `model` (parameters and running statistics), `optimizer`,
`metadata` (the model's name and arguments, image size, config, data, code version), `files.json`
(sizes and checksums of these files, `steps.py`) and, once the step was validated,
`validation.json`. Inference reads model and metadata alone.

A training with a moving average of the parameters (`train.ema_decay`) saves the average in `model`,
and the parameters from which it continues in `optimizer` (`harmony_jax.training.averaging`).

The step also says which batch and random keys come next: they depend on it and the config's seed.
"""

import errno
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import PreservationContext, PreservationPolicy

from harmony_jax.devices.distributed import as_first_process
from harmony_jax.errors import InputError
from harmony_jax.variables import Variables
from harmony_jax.weights.steps import (
    FOLDER,
    find_damage,
    list_files,
    move_aside,
    read_json,
    read_validation,
    saved_steps,
    write_validation,
)

Metadata = dict[str, Any]

# Metrics of a validation, and which value of each is best.
BEST: dict[str, Callable[..., Any]] = {"MSE": min, "fMSE": min, "PSNR": max}

_NONE = -1  # no step
_BESIDE_ARRAYS = 2**24  # bytes on disk at most: metadata, indices, TensorBoard files
_LISTED = 5  # arrays that differ

_LOGGER = logging.getLogger(__name__)


class Restored(NamedTuple):
    """Where training continues."""

    step: int
    variables: Variables
    optimizer: Any
    metadata: Metadata


class _Manager(ocp.CheckpointManager):
    """Orbax's manager, except that training decides what to save when it is asked to stop.

    Orbax would measure the time since the checkpoint before, which it does not know after a
    lightweight initialization.
    """

    def reached_preemption(self, step: int) -> bool:
        return False


class Checkpoints(PreservationPolicy):
    """The checkpoints of one folder.

    Args:
        folder: holds a folder for each step; made if it is not there.
        keep_newest: how many of the newest to keep besides the best; None keeps all.
        best_metric: which metric of a validation ranks checkpoints, a key of BEST.
    """

    def __init__(self, folder: Path, keep_newest: int | None = None, best_metric: str = "MSE"):
        if best_metric not in BEST:
            raise InputError(
                f"checkpoint.best_metric {best_metric!r}: choose {', '.join(map(repr, BEST))}"
            )
        self.folder = folder
        self._keep_newest, self._best_metric = keep_newest, best_metric
        self._saving: int | None = None
        self._manager = self._open()

    def newest_step(self) -> int | None:
        """The newest saved step, which may still be being written."""
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        """The best by the run's metric on the validation set, or if none was validated the newest.

        Steps with damaged metadata are passed over, unless there are no others.
        """
        steps = saved_steps(self.folder)
        for step in reversed(steps):
            if _damage(self.folder / str(step), "metadata") is None:
                section = self.metadata(step).get("config", {}).get("checkpoint", {})
                best = self._best_of(steps, section.get("best_metric", "MSE"))
                return step if best is None else best
        return max(steps, default=None)

    def validation(self, step: int) -> dict[str, float] | None:
        """The metrics of a step's validation, or None if it has not been validated."""
        return read_validation(self.folder / str(step))

    def should_preserve(
        self, checkpoints: Sequence[Any], *, context: PreservationContext
    ) -> Sequence[bool]:
        """Orbax's question which checkpoints to keep: the newest and the best."""
        steps = [checkpoint.step for checkpoint in checkpoints]
        newest = steps if self._keep_newest is None else steps[-self._keep_newest :]
        best = self._best_of(steps, self._best_metric)
        return [step in newest or step == best for step in steps]

    def save(
        self, step: int, variables: Variables, optimizer_state: Any, metadata: Metadata
    ) -> None:
        """Copies the arrays and returns; they are written in the background.

        Args:
            step: steps done; greater than that of any checkpoint there.
            variables, optimizer_state: arrays on any mesh, or NumPy arrays.
            metadata: as JSON holds it.

        Raises:
            InputError: the disk is full; or the checkpoint before this one could not be written.
        """
        arrays = {"model": variables._asdict(), "optimizer": optimizer_state}
        with self._reporting_errors():
            self._manager.wait_until_finished()  # the one before is written, old ones are removed
            check_free_space(self.folder, arrays)
            self._saving = step
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    **{name: ocp.args.StandardSave(tree) for name, tree in arrays.items()},
                    metadata=ocp.args.JsonSave(metadata),
                ),
            )

    def add_validation(self, step: int, metrics: Mapping[str, float]) -> None:
        """Adds to a saved step the metrics that rank it."""
        self._wait()
        if jax.process_index() == 0:
            write_validation(self.folder / str(step), dict(metrics))

    def restore_newest(
        self, variables: Variables, optimizer_state: Any, check: Callable[[Path, Metadata], None]
    ) -> Restored | None:
        """Reads the newest intact checkpoint; damaged ones are moved aside, and a warning says so.

        Args:
            variables, optimizer_state: shapes, types and shardings (`jax.ShapeDtypeStruct`).
            check: takes a checkpoint's folder and metadata; raises InputError if training must not
                continue from it.

        Returns:
            The checkpoint, or None if the folder has none.

        Raises:
            InputError: all checkpoints are damaged, or an intact one cannot be read; either changes
                nothing on disk. Or what `check` raised.
        """
        newest, damaged = self._newest_intact() if jax.process_index() == 0 else (None, {})
        step = as_first_process(_NONE if newest is None else newest)
        if step == _NONE:
            return None
        folder = self.folder / str(step)
        metadata = _read_metadata(folder)
        check(folder, metadata)
        found = Restored(
            step,
            Variables(**_read_arrays(folder, "model", variables._asdict())),
            _read_arrays(folder, "optimizer", optimizer_state),
            metadata,
        )
        for bad, damage in damaged.items():
            _LOGGER.warning("%s; moved to %s", damage, move_aside(self.folder / str(bad)))
        if as_first_process(len(damaged)):
            self._manager.close()
            self._manager = self._open()  # which then knows the intact ones alone
        return found

    def metadata(self, step: int) -> Metadata:
        """What was saved beside the arrays of a step."""
        return _read_metadata(self._intact(step, "metadata"))

    def model(self, step: int, abstract: Variables) -> Variables:
        """Reads a step's parameters and statistics, with the shardings of `abstract`."""
        folder = self._intact(step, "model")
        return Variables(**_read_arrays(folder, "model", abstract._asdict()))

    def optimizer_state(self, step: int, abstract: Any) -> Any:
        """Reads a step's state of the optimizer, with the shardings of `abstract`."""
        return _read_arrays(self._intact(step, "optimizer"), "optimizer", abstract)

    def close(self) -> None:
        """Waits for a checkpoint that is still being written."""
        self._wait()
        self._manager.close()

    def _wait(self) -> None:
        with self._reporting_errors():
            self._manager.wait_until_finished()

    def _open(self) -> ocp.CheckpointManager:
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self,
            create=True,
            cleanup_tmp_directories=self._keep_newest is not None,
            lightweight_initialize=True,  # else it reads JSON of each step, which may be damaged
            async_options=ocp.AsyncOptions(post_finalization_callback=self._list_files),
        )
        return _Manager(self.folder.absolute(), options=options)

    def _list_files(self) -> None:
        """Called when a step's files are all written, before its folder gets its name."""
        if jax.process_index() == 0:
            (unnamed,) = self.folder.glob(f"{self._saving}.*")
            list_files(unnamed, "model", "optimizer", "metadata")

    def _best_of(self, steps: Sequence[int], metric: str) -> int | None:
        """The best of some steps by a metric of their validation; None if none was validated."""
        values = {step: (self.validation(step) or {}).get(metric) for step in steps}
        finite = {step: v for step, v in values.items() if isinstance(v, float) and isfinite(v)}
        return BEST[metric](finite, key=finite.__getitem__) if finite else None

    def _newest_intact(self) -> tuple[int | None, dict[int, str]]:
        """The newest step that is not damaged, if there are any, and the damage of newer ones."""
        damaged: dict[int, str] = {}
        for step in reversed(saved_steps(self.folder)):
            damage = _damage(self.folder / str(step))
            if damage is None:
                return step, damaged
            damaged[step] = damage
        if damaged:
            raise InputError(
                f"{self.folder}: no checkpoint is intact ({next(iter(damaged.values()))}): they "
                "stay as they are; to begin anew, choose another workdir"
            )
        return None, {}

    def _intact(self, step: int, item: str) -> Path:
        """A step's folder, if the files of an item in it are intact."""
        folder = self.folder / str(step)
        if damage := _damage(folder, item):
            raise InputError(f"{damage}: choose another")
        return folder

    @contextmanager
    def _reporting_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, RuntimeError) as error:
            steps = saved_steps(self.folder)
            left = f"step {max(steps)} is the newest intact one" if steps else "there is none yet"
            raise InputError(
                f"{self.folder}: a checkpoint cannot be written ({_one_line(error)}), {left}: make "
                "room and run the same command again"
            ) from error


def open_checkpoint(path: Path) -> tuple[Checkpoints, int]:
    """Finds the checkpoint that a path stands for.

    Args:
        path: a workdir, its `checkpoints` folder, or one step's folder.

    Returns:
        The checkpoints of that folder, and the step: the named one, else the best by validation,
        else the newest.
    """
    path = Path(path)
    if path.name in map(str, saved_steps(path.parent)) and not (path / FOLDER).is_dir():
        return Checkpoints(path.parent), int(path.name)
    folder = path / FOLDER if (path / FOLDER).is_dir() else path
    if saved_steps(folder):
        checkpoints = Checkpoints(folder)
        if (step := checkpoints.best_step()) is not None:
            return checkpoints, step
    raise InputError(
        f"{path}: no checkpoint there: pass a workdir that was trained in, or one of its "
        f"{FOLDER}/STEP folders"
    )


def with_sharding(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    """Shapes and types of a tree's arrays, to be restored with the given sharding."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
    )


def check_free_space(folder: Path, arrays: Any) -> None:
    """Raises OSError if a tree of arrays, and the files beside it, do not fit on the disk.

    If orbax runs out of space while it writes, it prints a traceback for each array.
    """
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(arrays)) + _BESIDE_ARRAYS
    free = shutil.disk_usage(folder).free
    if free < needed:
        sizes = f"{needed / 1e6:.0f} MB needed, {free / 1e6:.0f} MB free"
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {sizes}")


def _damage(folder: Path, item: str = "") -> str | None:
    with _reading(folder, item or "its files"):
        damage = find_damage(folder, item)
    return damage and f"{folder}: damaged checkpoint, {damage}"


def _read_metadata(folder: Path) -> Metadata:
    with _reading(folder, "metadata"):
        return read_json(folder / "metadata" / "metadata")


def _read_arrays(folder: Path, item: str, abstract: Any) -> Any:
    handler = ocp.StandardCheckpointHandler()
    directory = folder.absolute() / item
    with _reading(folder, item):
        on_disk = handler.metadata(directory)
    _check_tree(folder, item, on_disk, abstract)
    with _reading(folder, item):
        return handler.restore(directory, args=ocp.args.StandardRestore(abstract))


@contextmanager
def _reading(folder: Path, item: str) -> Iterator[None]:
    """Reports errors that are no damage, such as too many open files: the next try may succeed."""
    try:
        yield
    except Exception as error:
        raise InputError(
            f"{folder}: {item} cannot be read ({_one_line(error)}): the checkpoint stays as "
            "it is; run the same command again"
        ) from error


def _check_tree(folder: Path, item: str, on_disk: Any, abstract: Any) -> None:
    """Raises InputError, naming arrays, unless a tree on disk has the keys and shapes asked for."""
    found, wanted = _shapes(on_disk), _shapes(abstract)
    differing = [
        f"{key} {found.get(key, 'missing')} instead of {wanted.get(key, 'none')}"
        for key in sorted(found.keys() | wanted.keys())
        if found.get(key) != wanted.get(key)
    ]
    if differing:
        raise InputError(
            f"{folder}: {item} was written by other code or another config ({len(differing)} "
            f"arrays differ: {', '.join(differing[:_LISTED])}): use the code and config it was "
            "written with, or another workdir"
        )


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): tuple(leaf.shape)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
