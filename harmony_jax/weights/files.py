"""State dicts in files: PyTorch's .pth and safetensors."""

import os
from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from harmony_jax.disk import write_file
from harmony_jax.errors import InputError
from harmony_jax.weights.torch_file import read_torch_file, write_torch_file

TORCH_ENDINGS = (".pth", ".pt", ".bin")
SAFETENSORS_ENDING = ".safetensors"

# DataParallel puts the first before every key, HRNet's training code the second. In a foreground-
# aware model `model.` is part of the name: it has other keys as well.
_PREFIXES = ("module.", "model.")


def is_weight_file(path: str | os.PathLike[str]) -> bool:
    """Whether the name has an ending that `read_state_dict` and `write_state_dict` take."""
    return Path(path).suffix.lower() in (*TORCH_ENDINGS, SAFETENSORS_ENDING)


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads a file's weights; nothing in the file is ever executed.

    Args:
        path: .safetensors, or .pth, .pt or .bin of any version of PyTorch. The weights may be
            nested under `state_dict`; a prefix `module.` or `model.` of all keys is removed.

    Returns:
        PyTorch key to array, which may be read-only: floating point as float32, other types
        unchanged.
    """
    path = Path(path)
    _check_ending(path)
    _check_start(path)
    if path.suffix.lower() == SAFETENSORS_ENDING:
        state_dict = _read_safetensors(path)
    else:
        state_dict = {key: _float32(array) for key, array in read_torch_file(path).items()}
    if not state_dict:
        raise InputError(f"{path}: holds no weights: expected key to array")
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in state_dict):
            state_dict = {key.removeprefix(prefix): value for key, value in state_dict.items()}
    return state_dict


def read_texts(path: str | os.PathLike[str]) -> dict[str, str]:
    """The texts that `write_state_dict` put beside the weights; none in PyTorch's files."""
    path = Path(path)
    _check_ending(path)
    if path.suffix.lower() != SAFETENSORS_ENDING:
        return {}
    _check_start(path)
    try:
        with safetensors.safe_open(path, framework="np") as file:
            return file.metadata() or {}
    except (safetensors.SafetensorError, OSError) as error:
        raise _damaged_safetensors(path, error) from error


def write_state_dict(
    path: str | os.PathLike[str],
    state_dict: Mapping[str, np.ndarray],
    texts: Mapping[str, str] | None = None,
) -> None:
    """Writes weights into a new file, whole or not at all.

    Args:
        path: .pth, .pt or .bin, for `model.load_state_dict(torch.load(path))`; or .safetensors.
        state_dict: PyTorch key to array, as `to_torch_state_dict` gives it.
        texts: for `read_texts`; only .safetensors keeps them.
    """
    path = Path(path)
    _check_ending(path)
    if path.exists():
        raise InputError(f"{path}: is there already: choose another name or remove it")
    # Copies in C order, as both formats write the memory unchanged.
    arrays = {key: np.array(value, order="C") for key, value in state_dict.items()}
    if path.suffix.lower() == SAFETENSORS_ENDING:
        write_file(path, safetensors.numpy.save(arrays, dict(texts) if texts else None))
    else:
        write_torch_file(path, arrays)


def _check_ending(path: Path) -> None:
    if not is_weight_file(path):
        raise InputError(
            f"{path}: unknown ending {path.suffix!r}: use .pth, .pt or .bin (PyTorch) or "
            f"{SAFETENSORS_ENDING}"
        )


def _check_start(path: Path) -> None:
    """Raises InputError if a file cannot be read or is empty."""
    try:
        with path.open("rb") as file:
            start = file.read(1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): check the path") from error
    if not start:
        raise InputError(f"{path}: the file is empty: replace it")


def _damaged_safetensors(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path}: not a safetensors file, or a damaged one ({_first_line(error)}): replace it"
    )


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    state_dict = {}
    try:
        with safetensors.safe_open(path, framework="np") as file:
            for key in file.keys():  # noqa: SIM118 (the file is no dict)
                state_dict[key] = _float32(file.get_tensor(key))
    except (safetensors.SafetensorError, OSError) as error:
        raise _damaged_safetensors(path, error) from error
    except (AttributeError, TypeError) as error:  # a number type that NumPy lacks, such as float8
        raise InputError(
            f"{path}: {key} cannot be read ({_first_line(error)}): save it as float32"
        ) from error
    return state_dict


def _float32(array: np.ndarray) -> np.ndarray:
    """Floating point as float32, other types unchanged."""
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return array
    with np.errstate(all="ignore"):  # numbers that are too large become infinite, as in PyTorch
        return array.astype(np.float32, copy=False)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
