"""A whole model in one weight file.

The text `harmony_jax` in a .safetensors file's metadata says which model the file holds, in JSON:
`{"image_size": 256, "model": {"name": "hrnet18s_idih256", "overrides": {"fuse_into": "both"}}}`.
PyTorch's files, and .safetensors of other programs, hold nothing but arrays.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from harmony_jax.errors import InputError
from harmony_jax.models import HarmonizationModel, create_model
from harmony_jax.variables import split
from harmony_jax.weights.files import read_state_dict, read_texts, write_state_dict
from harmony_jax.weights.torch_keys import load_torch_state_dict, to_torch_state_dict

# Of a file or a checkpoint: `model` (`name` and `overrides`) and `image_size`.
Metadata = dict[str, Any]

DTYPES = ("float32", "float16")  # of written files; `read_state_dict` returns float32

# Smaller arrays, biases and statistics, stay float32: they are a hundredth of a file.
_LEAST_HALVED = 4097  # numbers

_TEXT = "harmony_jax"  # a single text, as safetensors does not keep the order of several


def write_model_file(
    path: Path, model: nnx.Module, metadata: Metadata, dtype: str = "float32"
) -> None:
    """Writes a model's weights, and into .safetensors which model it is.

    Args:
        path: a new file (`write_state_dict`).
        model: whose parameters and running statistics are written.
        metadata: `model` (`name` and `overrides`) and `image_size`; other entries are left out.
        dtype: of the large arrays, one of `DTYPES`; float16 rounds them and halves the file.
    """
    said = {"model": metadata["model"], "image_size": metadata["image_size"]}
    texts = {_TEXT: json.dumps(said, sort_keys=True)}
    arrays = to_torch_state_dict(model)
    if dtype == "float16":
        arrays = {key: _halved(path, key, value) for key, value in arrays.items()}
    write_state_dict(path, arrays, texts)


def file_metadata(path: Path) -> Metadata | None:
    """Which model a file holds, or None if it does not say."""
    text = read_texts(path).get(_TEXT)
    if text is None:
        return None
    try:
        return model_metadata(path, json.loads(text))
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}: its metadata is no JSON ({text[:100]!r}): write the file again"
        ) from error


def model_metadata(path: Path, found: Any) -> Metadata:
    """The entries of some metadata that say which model it is; `path` is for messages."""
    try:
        name, overrides = found["model"]["name"], dict(found["model"]["overrides"])
        return {
            "model": {"name": name, "overrides": overrides},
            "image_size": int(found["image_size"]),
        }
    except (KeyError, TypeError, ValueError) as error:
        fault = f"has no {error}" if isinstance(error, KeyError) else f"names no model ({error})"
        raise InputError(f"{path}: its metadata {fault}: write it again") from error


def load_model_file(
    path: Path, metadata: Metadata, sharding: jax.sharding.Sharding | None = None, **overrides: Any
) -> HarmonizationModel:
    """Builds the model that a file holds, ready for inference.

    Args:
        path: as `read_state_dict` takes.
        metadata: which model it is (`file_metadata`).
        sharding: of its arrays; by default they go to this process's first device.
        **overrides: arguments of the model to change, such as `dtype`.
    """
    name, arguments = metadata["model"]["name"], metadata["model"]["overrides"]
    state_dict = read_state_dict(path)
    try:
        model = nnx.eval_shape(
            lambda: create_model(name, rngs=nnx.Rngs(0), **{**arguments, **overrides})
        )
        model.check_image_size(metadata["image_size"], metadata["image_size"])
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    try:
        load_torch_state_dict(model, state_dict)
    except InputError as error:
        raise InputError(
            f"{path}: is not a {described(name, arguments)}: {error} (does the model have other "
            "arguments?)"
        ) from error
    model.eval()
    if sharding is None:
        return model
    graph, variables = split(model)
    return nnx.merge(graph, *jax.device_put(variables, sharding))


def described(name: str, overrides: Mapping[str, Any]) -> str:
    """Such as "hrnet18s_idih256 with fuse_into=both"."""
    listed = ", ".join(f"{key}={value}" for key, value in overrides.items())
    return f"{name} with {listed}" if listed else name


def _halved(path: Path, key: str, array: np.ndarray) -> np.ndarray:
    if array.dtype != np.float32 or array.size < _LEAST_HALVED:
        return array
    largest = np.abs(array).max()
    if not largest <= np.finfo(np.float16).max:
        raise InputError(f"{path}: {key} holds {largest:g}, too large for float16: use float32")
    return array.astype(np.float16)
