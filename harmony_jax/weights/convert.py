"""Conversion of a model's weights between files and checkpoints."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from harmony_jax.errors import InputError
from harmony_jax.models import released_image_size
from harmony_jax.variables import split
from harmony_jax.weights.files import is_weight_file
from harmony_jax.weights.model_file import (
    Metadata,
    described,
    file_metadata,
    load_model_file,
    write_model_file,
)
from harmony_jax.weights.saved_model import load_model, save_model
from harmony_jax.weights.torch_keys import to_torch_state_dict


class Converted(NamedTuple):
    """What was written.

    Attributes:
        name, overrides: the model, as `create_model` takes it.
        image_size: that it was trained at, pixels a side.
        num_arrays: keys of its state_dict.
        num_parameters: numbers that training changes.
    """

    name: str
    overrides: dict[str, Any]
    image_size: int
    num_arrays: int
    num_parameters: int


def convert(
    source: Path,
    output: Path,
    name: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    image_size: int | None = None,
    dtype: str = "float32",
) -> Converted:
    """Converts weights, checked against their model, to another file or a checkpoint.

    Args:
        source: a weight file (`read_state_dict`), or a checkpoint as `open_checkpoint` takes.
        output: a new weight file (`write_model_file`), or with any other name a new workdir for
            `load_model`, `Harmonizer.from_checkpoint` and evaluation.
        name: the model, needed for a file that does not name it. Checkpoints, and .safetensors
            files written here, name their model, its arguments and its image size; here these can
            only be repeated.
        overrides: arguments of the model (`create_model`) that differ from the released ones.
        image_size: that the model was trained at; by default the released one.
        dtype: of a weight file's large arrays (`write_model_file`); a workdir is float32.
    """
    if not source.exists():
        raise InputError(f"{source}: no such file or folder: check the path")
    if not is_weight_file(output) and (source.is_dir() or dtype != "float32"):
        fault = f"{source} is a checkpoint already"
        if dtype != "float32":
            fault = f"a workdir holds float32, not {dtype}"
        raise InputError(f"{output}: {fault}: name an output that ends in .pth or .safetensors")
    if source.is_dir() or file_metadata(source) is not None:
        model, loaded = load_model(source)
        metadata = loaded.metadata
        _check_repeated(loaded.folder, metadata, name, overrides, image_size)
    else:
        if name is None:
            raise InputError(f"{source}: does not say which model it holds: name the model")
        size = released_image_size(name) if image_size is None else image_size
        said = {"name": name, "overrides": dict(overrides or {})}
        metadata = {"model": said, "image_size": size}
        model = load_model_file(source, metadata)
    if is_weight_file(output):
        write_model_file(output, model, metadata, dtype)
    else:
        known = {key: metadata[key] for key in ("model", "image_size")}
        save_model(output, model, {**known, "source": source.name})
    return Converted(
        **metadata["model"],
        image_size=metadata["image_size"],
        num_arrays=len(to_torch_state_dict(model)),
        num_parameters=sum(leaf.size for leaf in jax.tree.leaves(split(model)[1].params)),
    )


def _check_repeated(
    place: Path,
    metadata: Metadata,
    name: str | None,
    overrides: Mapping[str, Any] | None,
    image_size: int | None,
) -> None:
    """Raises InputError if an argument differs from what the source says."""
    found = metadata["model"]
    asked = described(found["name"], overrides or {})
    fault = None
    if name not in (None, found["name"]):
        fault = f"holds a {found['name']}, not a {name}"
    elif overrides and overrides != found["overrides"]:
        fault = f"holds a {described(**found)}, not a {asked}"
    elif image_size not in (None, metadata["image_size"]):
        fault = f"has the image size {metadata['image_size']}, not {image_size}"
    if fault is not None:
        raise InputError(f"{place}: {fault}: leave that argument out")
