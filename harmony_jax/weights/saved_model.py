"""A model on disk without its optimizer: what inference and conversion read and write."""

import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from flax import nnx

from harmony_jax.errors import InputError
from harmony_jax.models import HarmonizationModel, create_model
from harmony_jax.variables import split
from harmony_jax.weights.checkpoint import (
    CHECKSUMS,
    Checkpoints,
    Metadata,
    check_free_space,
    checksum,
)
from harmony_jax.weights.files import is_weight_file
from harmony_jax.weights.intact import list_files
from harmony_jax.weights.model_file import file_metadata, load_model_file
from harmony_jax.weights.steps import FOLDER, saved_steps


class Loaded(NamedTuple):
    """Where a model came from.

    Attributes:
        folder: the step's; or the weight file.
        metadata: what was saved beside the arrays.
    """

    folder: Path
    metadata: Metadata


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
    complete = {**metadata, CHECKSUMS: {"model": checksum(variables)}}
    try:
        temporary.mkdir(parents=True)
        check_free_space(temporary, variables)
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            checkpointer.save(
                temporary.absolute() / "0",
                args=ocp.args.Composite(
                    model=ocp.args.StandardSave(variables),
                    metadata=ocp.args.JsonSave(complete),
                ),
            )
        list_files(temporary / "0", "model", "metadata")
        temporary.rename(target)
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{folder}: cannot be written ({reason}): choose another") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load_model(
    path: Path, sharding: jax.sharding.Sharding | None = None, **overrides: Any
) -> tuple[HarmonizationModel, Loaded]:
    """Builds the model that a checkpoint holds, ready for inference.

    Args:
        path: as `open_checkpoint` takes; or a .safetensors file that says its model
            (`harmony_jax.weights.model_file`).
        sharding: where its arrays go; by default on this process's first device.
        **overrides: arguments of the model to set otherwise, such as `dtype`, or `precision` (by
            default highest, see `create_model`).

    Returns:
        The model in evaluation mode, and the step's folder with its metadata.

    Raises:
        InputError: there is no checkpoint, it is damaged, or a file does not say its model.
    """
    path = Path(path)
    if is_weight_file(path) and path.is_file():
        found = file_metadata(path)
        if found is None:
            raise InputError(
                f"{path}: does not say its model: make a workdir of it first, with "
                f"scripts/convert_weights.py --model=NAME --input={path} --output=WORKDIR"
            )
        return load_model_file(path, found, sharding, **overrides), Loaded(path, found)
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
