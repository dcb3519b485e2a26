"""PyTorch's files of weights, read and written without PyTorch.

Since version 1.6 `torch.save` writes an uncompressed zip archive: FOLDER/data.pkl is the pickle of
the state dict, FOLDER/data/KEY the storages' bytes. An older file is a sequence of five pickles (a
magic number, a version, the machine, the state dict, the storages' keys), then of the storages,
each after its number of elements.
"""

import io
import pickle
import struct
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from harmony_jax.disk import write_file
from harmony_jax.errors import InputError
from harmony_jax.weights.torch_pickle import (
    MAX_BYTES,
    Named,
    Tensor,
    kind,
    pickled,
    quoted,
    unpickle,
)

_ZIP = b"PK"  # start of the file
_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C  # of the format before 1.6
_LEGACY_VERSION = 1001
_VERSION = b"3\n"  # of the archive's layout
_FOLDER = "archive"
_ALIGNMENT = 64
_HEADER_BYTES = 30  # of a member in a zip archive; its name and extra fields follow
_EXTRA = struct.Struct("<2sH")
_COUNT = struct.Struct("<q")

# How many times larger than the file all arrays together may be, as they share and repeat bytes;
# and how many bytes any file may have.
_MAX_GROWTH = 4
_ALWAYS_BYTES = 1 << 20


def read_torch_file(path: Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a state dict, which may be nested under `state_dict`.

    Memory stays within a few times the file's size. Storages of a training's other tensors are not
    read.

    Returns:
        Key to array, of the types in the file (bfloat16 and float8 by ml_dtypes): read-only views
        of the storages' bytes, strided and shared as the tensors were.
    """
    with path.open("rb") as file:
        start = file.read(len(_ZIP))
        file.seek(0)
        try:
            if start == _ZIP:
                with zipfile.ZipFile(file) as archive:
                    return _read_archive(path, archive)
            return _read_legacy(path, file)
        except InputError:
            raise
        except Exception as error:  # damaged files raise errors of every kind
            guess = (
                "a damaged PyTorch file, or another zip archive"
                if start == _ZIP
                else "not a PyTorch file of weights, or a damaged one"
            )
            reason = quoted(str(error).partition("\n")[0] or type(error).__name__)[1:-1]
            raise InputError(f"{path}: {guess} ({reason}): fetch it again") from error


def write_torch_file(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes, whole or not at all, a file that every `torch.load` since 1.6 reads.

    Args:
        path: of the file.
        arrays: key to array, in C order; PyTorch gets an OrderedDict of tensors.
    """
    try:
        description = pickled(arrays)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        _add(archive, "data.pkl", description)
        _add(archive, "byteorder", sys.byteorder.encode())
        for number, array in enumerate(arrays.values()):
            _add(archive, f"data/{number}", array.reshape(-1).view(np.uint8).data)
        _add(archive, "version", _VERSION)
    write_file(path, buffer.getvalue())


def _add(archive: zipfile.ZipFile, name: str, data: bytes | memoryview) -> None:
    """Adds a member whose data begin at a multiple of 64 bytes, so that PyTorch can map them."""
    info = zipfile.ZipInfo(f"{_FOLDER}/{name}")
    begin = archive.start_dir + _HEADER_BYTES + len(info.filename) + _EXTRA.size
    padding = -begin % _ALIGNMENT
    info.extra = _EXTRA.pack(b"FB", padding) + bytes(padding)
    archive.writestr(info, data)


def _read_archive(path: Path, archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    names = archive.namelist()
    folders = [name.removesuffix("/data.pkl") for name in names if name.endswith("/data.pkl")]
    if len(folders) != 1:
        raise pickle.UnpicklingError("it has no data.pkl")
    folder = folders[0]
    if f"{folder}/constants.pkl" in names:
        raise InputError(
            f"{path}: refused: a TorchScript program, not weights: save model.state_dict() alone"
        )
    description = _member(path, archive, f"{folder}/data.pkl")
    if len(description) > MAX_BYTES:
        raise _too_long(path)
    content, _ = unpickle(path, io.BytesIO(description))
    tensors = _tensors(path, content)
    order = "little"
    if f"{folder}/byteorder" in names:  # since 2.1
        order = _member(path, archive, f"{folder}/byteorder").decode()
    storages = {tensor.storage for tensor in tensors.values()}
    if sum(storage.num_bytes for storage in storages) > _num_bytes(path):
        raise pickle.UnpicklingError("its storages are larger than the file")
    data = {}
    for storage in storages:
        name = f"{folder}/data/{storage.key}"
        data[storage.key] = _member(path, archive, name)
        if len(data[storage.key]) != storage.num_bytes:
            raise pickle.UnpicklingError(
                f"{quoted(name)} has {len(data[storage.key])} of {storage.num_bytes} bytes"
            )
    return _arrays(path, tensors, data, order)


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    """A member's bytes, checked against their checksum."""
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED:
        raise InputError(
            f"{path}: refused: {quoted(name)} is compressed, as torch.save does not: save "
            "model.state_dict() with torch.save"
        )
    if info.file_size != info.compress_size or info.file_size > _num_bytes(path):
        raise pickle.UnpicklingError(f"{quoted(name)} is larger than the file")
    return archive.read(info)


def _read_legacy(path: Path, file: BinaryIO) -> dict[str, np.ndarray]:
    size = _num_bytes(path)
    head = io.BytesIO(file.read(min(size, MAX_BYTES)))
    if not head.getvalue().startswith(pickle.PROTO):
        raise pickle.UnpicklingError("neither a zip archive nor a pickle")
    try:
        magic_number, version, _ = (unpickle(path, head)[0] for _ in range(3))
        if magic_number != _MAGIC_NUMBER or version != _LEGACY_VERSION:
            raise pickle.UnpicklingError("no magic number")
        content, storages = unpickle(path, head)
        keys, _ = unpickle(path, head)
    except Exception as error:  # as of damaged files
        if head.tell() == MAX_BYTES:
            raise _too_long(path) from error
        raise
    tensors = _tensors(path, content)
    needed = {tensor.storage for tensor in tensors.values()}
    file.seek(head.tell())
    data = {}
    for key in keys:
        storage = storages[key]
        (count,) = _COUNT.unpack(file.read(_COUNT.size))
        end = file.tell() + storage.num_bytes
        if count != storage.size or end > size:
            raise pickle.UnpicklingError(f"storage {quoted(key)} is not whole")
        if storage in needed:
            data[key] = file.read(storage.num_bytes)
        file.seek(end)
    return _arrays(path, tensors, data, "little")


def _tensors(path: Path, content: Any) -> dict[str, Tensor]:
    """The tensors of a state dict, or of the one nested in a training's file."""
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise InputError(
            f"{path}: holds a {kind(content)}, not a state_dict: save model.state_dict() alone"
        )
    for key, value in content.items():
        if isinstance(key, str) and isinstance(value, Tensor):
            continue
        if isinstance(key, str) and isinstance(value, Named) and value.is_tensor:
            fault = f"is no plain array ({kind(value)}): save it dense, as float32"
        else:
            fault = f"is a {kind(value)}, expected names and tensors: save model.state_dict() alone"
        raise InputError(f"{path}: entry {quoted(key)} {fault}")
    claimed = sum(tensor.num_bytes for tensor in content.values())
    if claimed > max(_MAX_GROWTH * _num_bytes(path), _ALWAYS_BYTES):
        raise InputError(
            f"{path}: refused: its tensors would take {claimed:.3g} bytes, the file has "
            f"{_num_bytes(path)}: save contiguous tensors, each once"
        )
    return content


def _arrays(
    path: Path, tensors: Mapping[str, Tensor], data: Mapping[str, bytes], order: str
) -> dict[str, np.ndarray]:
    """Views of the storages' bytes, or copies if their byte order is not this machine's."""
    if order not in ("little", "big"):
        raise pickle.UnpicklingError(f"byte order {quoted(order)}")
    arrays = {}
    for key, tensor in tensors.items():
        size = tensor.dtype.itemsize
        array = np.ndarray(
            tensor.shape,
            tensor.dtype,
            data[tensor.storage.key],
            tensor.offset * size,
            [stride * size for stride in tensor.strides],
        )
        arrays[key] = array if order == sys.byteorder else array.byteswap()
    return arrays


def _num_bytes(path: Path) -> int:
    return path.stat().st_size


def _too_long(path: Path) -> InputError:
    return InputError(
        f"{path}: refused: more than {MAX_BYTES >> 20} MiB of names and values beside the "
        "numbers: save model.state_dict() alone"
    )
