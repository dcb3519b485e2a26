"""Checkpoints of a run: a folder a step, with the model apart from the optimizer.

`WORKDIR/checkpoints/STEP/` holds `model` (parameters and running statistics), `optimizer` and
`metadata` (the model's name and arguments, image size, what the training data depends on), and
`metrics` if the step was validated. Inference reads model and metadata alone.
"""

import errno
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from flax import nnx
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from harmony_jax.errors import InputError
from harmony_jax.models import HarmonizationModel, create_model
from harmony_jax.variables import Variables, split

FOLDER = "checkpoints"

Metadata = dict[str, Any]

_NO_TRAINING = "none (weights alone, without an optimizer)"


class Loaded(NamedTuple):
    """Where a model came from."""

    folder: Path
    metadata: Metadata


class Checkpoints:
    """The checkpoints of one folder.

    Args:
        folder: holds a folder a step; made if it is not there.
        keep_newest: how many of the newest to keep besides the best; None keeps all.
    """

    def __init__(self, folder: Path, keep_newest: int | None = None):
        self.folder = folder
        policy = None
        if keep_newest is not None:
            # Ranked last is best; without validation every MSE is missing and the newest stay.
            best = BestN(
                get_metric_fn=_validation_mse,
                reverse=True,
                n=1,
                keep_checkpoints_without_metrics=False,
            )
            policy = AnyPreservationPolicy([LatestN(n=keep_newest), best])
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy,
            best_fn=_validation_mse,
            best_mode="min",
            create=True,
        )
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def newest_step(self) -> int | None:
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        """The step with the least validation MSE; the newest if none was validated."""
        step = self._manager.best_step()
        return self.newest_step() if step is None else step

    def save(
        self,
        step: int,
        variables: Variables,
        optimizer_state: Any,
        metadata: Metadata,
        validation: Mapping[str, float] | None,
    ) -> None:
        """Saves in the background; `validation` holds the MSE that ranks checkpoints."""
        self._manager.save(
            step,
            args=ocp.args.Composite(
                model=ocp.args.StandardSave(variables._asdict()),
                optimizer=ocp.args.StandardSave(optimizer_state),
                metadata=ocp.args.JsonSave(metadata),
            ),
            metrics=dict(validation) if validation else None,
        )

    def metadata(self, step: int) -> Metadata:
        return self._restore(step, metadata=ocp.args.JsonRestore()).metadata

    def model(self, step: int, abstract: Variables) -> Variables:
        """Reads parameters and statistics, on the devices that `abstract` names."""
        target = ocp.args.StandardRestore(abstract._asdict())
        return Variables(**self._restore(step, model=target).model)

    def optimizer_state(self, step: int, abstract: Any) -> Any:
        return self._restore(step, optimizer=ocp.args.StandardRestore(abstract)).optimizer

    def close(self) -> None:
        """Waits for checkpoints still being written."""
        self._manager.close()

    def _restore(self, step: int, **items: Any) -> Any:
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**items))
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).splitlines()[0][:200]
            raise InputError(
                f"{self.folder / str(step)}: damaged checkpoint, {', '.join(items)} cannot be "
                f"read ({reason}): delete it to use an older one"
            ) from error


def save_model(folder: Path, model: nnx.Module, metadata: Metadata) -> None:
    """Saves a model for inference, without an optimizer, as step 0 of a new workdir.

    Args:
        folder: the workdir; it gets its `checkpoints` whole or not at all.
        model: whose parameters and running statistics are saved.
        metadata: what `load_model` and prediction need: `model` (`name` and `overrides`) and
            `image_size`.

    Raises:
        InputError: the folder has checkpoints already, or cannot be written.
    """
    target = folder / FOLDER
    if target.exists():
        raise InputError(f"{target}: is there already: choose another folder or remove it")
    temporary = folder / f".{FOLDER}.{os.getpid()}.tmp"
    variables = split(model)[1]._asdict()
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(variables))
    try:
        temporary.mkdir(parents=True)
        free = shutil.disk_usage(temporary).free
        if free < needed:  # met halfway, orbax would print a traceback for each array
            sizes = f"{needed / 1e6:.0f} MB needed, {free / 1e6:.0f} MB free"
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {sizes}")
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            checkpointer.save(
                temporary.absolute() / "0",
                args=ocp.args.Composite(
                    model=ocp.args.StandardSave(variables),
                    # Training compares this with its own data, and says why it cannot continue.
                    metadata=ocp.args.JsonSave({**metadata, "training data": _NO_TRAINING}),
                ),
            )
        temporary.rename(target)
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{folder}: cannot be written ({reason}): choose another") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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


def saved_steps(folder: Path) -> list[int]:
    """Steps with a checkpoint in a `checkpoints` folder; none if there is no such folder."""
    if not folder.is_dir():
        return []
    return [int(child.name) for child in folder.iterdir() if child.name.isdigit()]


def load_model(
    path: Path, sharding: jax.sharding.Sharding | None = None, **overrides: Any
) -> tuple[HarmonizationModel, Loaded]:
    """Builds the model that a checkpoint holds, ready for inference.

    Args:
        path: as `open_checkpoint` takes.
        sharding: where its arrays go; by default on this process's first device.
        **overrides: arguments of the model to set otherwise, such as `dtype`.

    Returns:
        The model in evaluation mode, and the step's folder with its metadata.

    Raises:
        InputError: there is no checkpoint, or it is damaged.
    """
    checkpoints, step = open_checkpoint(path)
    metadata = checkpoints.metadata(step)
    arguments = {**metadata["model"]["overrides"], **overrides}
    model = nnx.eval_shape(
        lambda: create_model(metadata["model"]["name"], rngs=nnx.Rngs(0), **arguments)
    )
    model.eval()
    graph, abstract = split(model)
    sharding = sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    variables = checkpoints.model(step, with_sharding(abstract, sharding))
    checkpoints.close()
    return nnx.merge(graph, *variables), Loaded(checkpoints.folder / str(step), metadata)


def with_sharding(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    """Shapes and types of a tree's arrays, to be restored with the given sharding."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
    )


def _validation_mse(metrics: Mapping[str, float]) -> float:
    return metrics["MSE"]
