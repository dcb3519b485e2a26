"""Files read and written whole, or not at all."""

import os
import tempfile
import uuid
from pathlib import Path

from harmony_jax.errors import InputError


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The whole file.

    Raises:
        InputError: it is missing, unreadable or empty.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): check the path") from error
    if not data:
        raise InputError(f"{path}: the file is empty: replace it")
    return data


# Names of files that are being written.
_UNFINISHED: set[Path] = set()


def remove_unfinished() -> None:
    """Removes what is being written, by any thread: for a process that ends at once."""
    for path in list(_UNFINISHED):
        path.unlink(missing_ok=True)


def write_file(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes a file under a temporary name, then renames it, so that no half of it is ever seen.

    Raises:
        InputError: the folder cannot be made or written.
    """
    path = Path(path)
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _UNFINISHED.add(temporary)
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        except BaseException:  # an interrupt too
            temporary.unlink(missing_ok=True)
            raise
        finally:
            _UNFINISHED.discard(temporary)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}): choose another") from error


def check_writable(folder: str | os.PathLike[str]) -> None:
    """Raises InputError unless files can be written into a folder, which need not exist yet."""
    folder = Path(folder)
    nearest = folder.absolute()
    try:
        while not nearest.exists():
            nearest = nearest.parent
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror}): choose another"
        ) from error
