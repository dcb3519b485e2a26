"""Conversion of a model's weights between files and checkpoints."""

from pathlib import Path
from typing import NamedTuple

import jax
from flax import nnx

from harmony_jax.errors import InputError
from harmony_jax.models import HarmonizationModel, create_model, released_image_size
from harmony_jax.variables import split
from harmony_jax.weights.files import is_weight_file, read_state_dict, write_state_dict
from harmony_jax.weights.saved_model import load_model, save_model
from harmony_jax.weights.torch_keys import load_torch_state_dict, to_torch_state_dict


class Converted(NamedTuple):
    """What was written.

    Attributes:
        name: of the model.
        num_arrays: keys of its state_dict.
        num_parameters: numbers that training would change.
    """

    name: str
    num_arrays: int
    num_parameters: int


def convert(source: Path, output: Path, name: str | None = None) -> Converted:
    """Converts weights, checked against their model, to another file or a checkpoint.

    Args:
        source: a weight file (`read_state_dict`), or a checkpoint as `open_checkpoint` takes.
        output: a new weight file (`write_state_dict`); any other name is a workdir to be, which
            `load_model`, `Harmonizer.from_checkpoint` and `main.py --checkpoint` take.
        name: the model; needed for a file, a checkpoint knows its own.

    Raises:
        InputError: the source cannot be read, is not of this model, or the output is there
            already or cannot be written.
    """
    if not source.exists():
        raise InputError(f"{source}: no such file or folder: check the path")
    if source.is_dir():
        if not is_weight_file(output):
            raise InputError(
                f"{output}: {source} is a checkpoint already: name an output that ends in .pth or "
                ".safetensors"
            )
        model, name = _from_checkpoint(source, name)
    else:
        model, name = _from_file(source, name)
    state_dict = to_torch_state_dict(model)
    if is_weight_file(output):
        write_state_dict(output, state_dict)
    else:
        save_model(
            output,
            model,
            {
                "model": {"name": name, "overrides": {}},
                "image_size": released_image_size(name),
                "source": source.name,
            },
        )
    num_parameters = sum(leaf.size for leaf in jax.tree.leaves(split(model)[1].params))
    return Converted(name, len(state_dict), num_parameters)


def _from_checkpoint(source: Path, name: str | None) -> tuple[HarmonizationModel, str]:
    model, loaded = load_model(source)
    found = loaded.metadata["model"]["name"]
    if name not in (None, found):
        raise InputError(f"{loaded.folder}: holds a {found}, not a {name}: leave --model out")
    return model, found


def _from_file(source: Path, name: str | None) -> tuple[HarmonizationModel, str]:
    if name is None:
        raise InputError(f"{source}: does not say its model: name it with --model")
    model = nnx.eval_shape(lambda: create_model(name, rngs=nnx.Rngs(0)))
    state_dict = read_state_dict(source)
    try:
        load_torch_state_dict(model, state_dict)
    except InputError as error:
        raise InputError(f"{source}: is not a {name}: {error}") from error
    return model, name
