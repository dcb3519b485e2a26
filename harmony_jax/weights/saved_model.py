"""A model on disk without its optimizer: what inference and conversion read and write."""

import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import jax
from flax import nnx

from harmony_jax.errors import InputError
from harmony_jax.models import HarmonizationModel, create_model
from harmony_jax.variables import split
from harmony_jax.weights.files import is_weight_file
from harmony_jax.weights.model_file import Metadata, file_metadata, load_model_file, model_metadata
from harmony_jax.weights.steps import FOLDER, list_files

# Orbax reads and writes checkpoints. It takes long to load, so a weight file is read without it.


class Loaded(NamedTuple):
    """Where a model came from: a step's folder or a weight file, and its metadata."""

    folder: Path
    metadata: Metadata


def save_model(folder: Path, model: nnx.Module, metadata: Metadata) -> None:
    """Saves a model for inference, without an optimizer, as step 0 of a new workdir.

    Args:
        folder: the workdir; it gets its `checkpoints` whole or not at all.
        model: its parameters and running statistics are saved.
        metadata: `model` (`name` and `overrides`) and `image_size`.
    """
    import orbax.checkpoint as ocp

    from harmony_jax.weights.checkpoint import check_free_space

    target = folder / FOLDER
    if target.exists():
        raise InputError(f"{target}: is there already: choose another folder, or remove this one")
    temporary = folder / f".{FOLDER}.{os.getpid()}.tmp"
    variables = split(model)[1]._asdict()
    try:
        temporary.mkdir(parents=True)
        check_free_space(temporary, variables)
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            checkpointer.save(
                temporary.absolute() / "0",
                args=ocp.args.Composite(
                    model=ocp.args.StandardSave(variables), metadata=ocp.args.JsonSave(metadata)
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
        path: as `open_checkpoint` takes; or a .safetensors file that says which model it holds
            (`harmony_jax.weights.model_file`).
        sharding: where its arrays go; by default to this process's first device.
        **overrides: arguments of the model to change, such as `dtype`, or `precision` (by default
            highest, see `create_model`).

    Returns:
        The model in evaluation mode, and where it came from.
    """
    path = Path(path)
    if is_weight_file(path) and path.is_file():
        found = file_metadata(path)
        if found is None:
            raise InputError(
                f"{path}: does not say its model: make a workdir of it first with "
                "scripts/convert_weights.py, which takes the model's name"
            )
        return load_model_file(path, found, sharding, **overrides), Loaded(path, found)
    from harmony_jax.weights.checkpoint import open_checkpoint, with_sharding

    checkpoints, step = open_checkpoint(path)
    folder = checkpoints.folder / str(step)
    metadata = checkpoints.metadata(step)
    name, arguments = model_metadata(folder, metadata)["model"].values()
    arguments = {**arguments, **overrides}
    model = nnx.eval_shape(lambda: create_model(name, rngs=nnx.Rngs(0), **arguments))
    model.eval()
    graph, abstract = split(model)
    sharding = sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    variables = checkpoints.model(step, with_sharding(abstract, sharding))
    checkpoints.close()
    return nnx.merge(graph, *variables), Loaded(folder, metadata)
