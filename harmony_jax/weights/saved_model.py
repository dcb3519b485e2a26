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
from harmony_jax.weights.intact import list_files
from harmony_jax.weights.model_file import Metadata, file_metadata, load_model_file
from harmony_jax.weights.steps import FOLDER

# Checkpoints are read and written by orbax, which takes long to load: where there is a weight file
# alone, it is not.


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
    import orbax.checkpoint as ocp

    from harmony_jax.weights.checkpoint import CHECKSUMS, check_free_space, checksum

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
    from harmony_jax.weights.checkpoint import open_checkpoint, with_sharding

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
