"""Files read and written whole, or not at all."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from harmony_jax.errors import InputError

try:
    import fcntl
except ImportError:  # Windows, where nobody can remove what a process has open
    fcntl = None  # type: ignore[assignment]


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


class Present:
    """Which files exist: `path in present`. Each folder is listed once, and no file looked up."""

    def __init__(self) -> None:
        self._names: dict[Path, set[str]] = {}

    def __contains__(self, path: Path) -> bool:
        folder = path.parent
        if folder not in self._names:
            self._names[folder] = set(os.listdir(folder)) if folder.is_dir() else set()
        return path.name in self._names[folder]


# Names of files and folders that are being written.
_UNFINISHED: set[Path] = set()

# Of what takes long to write, and a killed process leaves: letters in its name, and the ending.
_MARK, _LONG_ENDING = 8, ".unfinished"


def remove_unfinished() -> None:
    """Removes what is being written, by any thread: for a process that ends at once."""
    for path in list(_UNFINISHED):
        _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)  # another thread may still write into it
    else:
        path.unlink(missing_ok=True)


def write_file(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes a file under a temporary name, then renames it, so that no half of it is ever seen.

    Raises:
        InputError: the folder cannot be made or written.
    """
    path = Path(path)
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    with _unfinished(temporary, path):
        temporary.write_bytes(data)
        temporary.replace(path)


@contextmanager
def _unfinished(temporary: Path, path: Path) -> Iterator[None]:
    """What becomes a path in the end; if the block raises, it is removed, and the path named."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _UNFINISHED.add(temporary)
        try:
            yield
        except BaseException:  # an interrupt too
            _remove(temporary)
            raise
        finally:
            _UNFINISHED.discard(temporary)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}): choose another") from error


@contextmanager
def unfinished_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write bit by bit: under a temporary name, and renamed when the block ends.

    If the block raises, it is removed. What processes that were killed left of the same file is
    removed first; a process that still writes is known by its lock.

    Raises:
        InputError: the folder cannot be made or written.
    """
    path = Path(path)
    temporary = _temporary(path)
    with _unfinished(temporary, path):
        _remove_left_over(path)
        with temporary.open("x+b") as file:
            _lock(file.fileno())
            yield file
        temporary.replace(path)


@contextmanager
def unfinished_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A folder to fill: under a temporary name, and renamed when the block ends.

    In a folder that is there already the files come beside its own, in place of those of the same
    names. If the block raises, nothing comes. What killed processes left is removed, as by
    `unfinished_file`.

    Raises:
        InputError: the folder cannot be made or written.
    """
    path = Path(path)
    temporary = _temporary(path)
    with _unfinished(temporary, path):
        _remove_left_over(path)
        temporary.mkdir()
        with _locked(temporary):
            yield temporary
        if path.exists():
            for file in sorted(temporary.iterdir()):
                file.replace(path / file.name)
            temporary.rmdir()
        else:
            temporary.replace(path)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:_MARK]}{_LONG_ENDING}")


def _remove_left_over(path: Path) -> None:
    """Removes what other processes began to write and were killed."""
    start = f".{path.name}."
    for other in path.parent.iterdir():
        middle = other.name.removeprefix(start).removesuffix(_LONG_ENDING)
        if other.name != f"{start}{middle}{_LONG_ENDING}" or len(middle) != _MARK:
            continue
        with suppress(PermissionError):  # another user's
            if not _in_use(other):
                _remove(other)


def _lock(descriptor: int) -> None:
    """Until the descriptor is closed, or the process ends in whatever way."""
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _in_use(path: Path) -> bool:
    if fcntl is None:  # a file in use cannot be removed, of a folder nobody knows
        return path.is_dir()
    try:
        with _locked(path):
            return False
    except BlockingIOError:
        return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """A folder, or a file, that this process has locked."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


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
