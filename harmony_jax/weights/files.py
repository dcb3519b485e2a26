"""State dicts in files: PyTorch's .pth and safetensors."""

import io
import os
import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from harmony_jax.disk import write_file
from harmony_jax.errors import InputError

TORCH_ENDINGS = (".pth", ".pt", ".bin")
SAFETENSORS_ENDING = ".safetensors"

# Older versions execute code from crafted files in spite of weights_only (CVE-2025-32434).
_OLDEST_TORCH = (2, 6)
# DataParallel puts the first before every key; HRNet's training code the second, which the
# released loader takes off. A foreground-aware model has other keys beside its own `model.`.
_PREFIXES = ("module.", "model.")

_ZIP = b"PK"  # what files begin with
_PICKLE = b"\x80"


def is_weight_file(path: str | os.PathLike[str]) -> bool:
    """Whether the name ends as files do that `read_state_dict` and `write_state_dict` take."""
    return Path(path).suffix.lower() in (*TORCH_ENDINGS, SAFETENSORS_ENDING)


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads a file's weights; nothing in the file is ever executed.

    Args:
        path: .pth, .pt or .bin as `torch.save` writes them today and wrote them before 1.6 (needs
            PyTorch), or .safetensors. The weights may be nested under `state_dict`; a prefix
            `module.` or `model.` that every key has is taken off.

    Returns:
        PyTorch key to array: floating point as float32, all else as it is.

    Raises:
        InputError: no such file, not a file of weights, one that asks to execute code, or
            PyTorch is needed and not installed.
    """
    path = Path(path)
    _check_ending(path)
    start = _read_start(path)
    if path.suffix.lower() == SAFETENSORS_ENDING:
        state_dict = _read_safetensors(path)
    else:
        state_dict = _read_torch(path, start)
    if not state_dict:
        raise InputError(f"{path}: holds no weights: expected key to array")
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in state_dict):
            state_dict = {key.removeprefix(prefix): value for key, value in state_dict.items()}
    return state_dict


def read_texts(path: str | os.PathLike[str]) -> dict[str, str]:
    """The texts that `write_state_dict` put beside the weights; none in PyTorch's files.

    Raises:
        InputError: as `read_state_dict`.
    """
    path = Path(path)
    _check_ending(path)
    if path.suffix.lower() != SAFETENSORS_ENDING:
        return {}
    _read_start(path)
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
        path: .pth, .pt or .bin (needs PyTorch), for `model.load_state_dict(torch.load(path))`; or
            .safetensors.
        state_dict: PyTorch key to array, as `to_torch_state_dict` gives it.
        texts: kept beside the weights in .safetensors, for `read_texts`; PyTorch's files keep none.

    Raises:
        InputError: the file is there already, cannot be written or has another ending, or
            PyTorch is needed and not installed.
    """
    path = Path(path)
    _check_ending(path)
    if path.exists():
        raise InputError(f"{path}: is there already: choose another name or remove it")
    # Copies in C order: safetensors writes memory as it lies, and JAX's arrays are read-only.
    arrays = {key: np.array(value, order="C") for key, value in state_dict.items()}
    if path.suffix.lower() == SAFETENSORS_ENDING:
        write_file(path, safetensors.numpy.save(arrays, dict(texts) if texts else None))
        return
    torch = _torch(path)
    buffer = io.BytesIO()
    torch.save(OrderedDict((key, torch.from_numpy(array)) for key, array in arrays.items()), buffer)
    write_file(path, buffer.getvalue())


def _check_ending(path: Path) -> None:
    if not is_weight_file(path):
        raise InputError(
            f"{path}: unknown ending {path.suffix!r}: use .pth, .pt or .bin (PyTorch) or "
            f"{SAFETENSORS_ENDING}"
        )


def _read_start(path: Path) -> bytes:
    """The first bytes, which say what kind of file it is.

    Raises:
        InputError: there is no such file, it cannot be read or is empty.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(_ZIP))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): check the path") from error
    if not start:
        raise InputError(f"{path}: the file is empty: replace it")
    return start


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


def _read_torch(path: Path, start: bytes) -> dict[str, np.ndarray]:
    torch = _torch(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as of pickle protocols; the result is checked
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged pickles raise errors of every kind
        raise InputError(f"{path}: {_refusal(error, path, start)}") from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise InputError(
            f"{path}: holds a {type(content).__name__}, not a state_dict: save "
            "model.state_dict() alone"
        )
    state_dict = {}
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise InputError(
                f"{path}: entry {key!r} is a {type(value).__name__}, expected names and tensors: "
                "save model.state_dict() alone"
            )
        state_dict[key] = _tensor_to_numpy(path, key, value)
    return state_dict


def _tensor_to_numpy(path: Path, key: str, tensor: Any) -> np.ndarray:
    try:
        tensor = tensor.detach()
        return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    except (RuntimeError, TypeError) as error:
        raise InputError(
            f"{path}: {key} is no plain array ({tensor.layout}, {tensor.dtype}, on "
            f"{tensor.device}): save it dense, as float32"
        ) from error


def _refusal(error: Exception, path: Path, start: bytes) -> str:
    """What is wrong with a file that `torch.load` refused, and what to do."""
    is_pickle = start.startswith(_PICKLE) or zipfile.is_zipfile(path)
    blocked = re.search(r"GLOBAL (\S+)", str(error))
    if isinstance(error, pickle.UnpicklingError) and blocked:
        return (
            f"refused: to read it would execute code that it names ({blocked[1]}); expected "
            "tensors alone: save model.state_dict() with torch.save"
        )
    if "Unsupported operand" in str(error) and is_pickle:
        return (
            "refused: a pickle with instructions that weights do not need, none was executed: "
            "save model.state_dict() with torch.save and its own pickle_protocol"
        )
    if "TorchScript" in str(error):
        return "refused: a TorchScript program, not weights: save model.state_dict() alone"
    if start == _ZIP:
        return "a damaged PyTorch file, or another zip archive: fetch it again"
    return "not a PyTorch file of weights, or a damaged one: fetch it again"


def _torch(path: Path) -> Any:
    try:
        import torch
    except ImportError as error:
        raise InputError(
            f"{path}: needs PyTorch, which is not installed: pip install 'harmony_jax[torch]' "
            f"(a {SAFETENSORS_ENDING} file needs none)"
        ) from error
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < _OLDEST_TORCH:
        raise InputError(
            f"{path}: the installed PyTorch {torch.__version__} can be made to execute code from "
            "such files: pip install --upgrade 'harmony_jax[torch]'"
        )
    return torch


def _float32(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if jnp.issubdtype(array.dtype, jnp.floating) else array


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
