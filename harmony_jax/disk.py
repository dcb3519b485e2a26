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
    """The whole file, which must not be empty."""
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
        self._any_case: dict[Path, dict[str, list[str]]] = {}

    def __contains__(self, path: Path) -> bool:
        folder = path.parent
        if folder not in self._names:
            self._names[folder] = set(os.listdir(folder)) if folder.is_dir() else set()
        return path.name in self._names[folder]

    def find(self, path: Path) -> Path | None:
        """The file, or else the only one whose name differs in nothing but case."""
        if path in self:
            return path
        folder = path.parent
        if folder not in self._any_case:
            names = self._any_case[folder] = {}
            for name in self._names[folder]:
                names.setdefault(name.casefold(), []).append(name)
        found = self._any_case[folder].get(path.name.casefold(), [])
        return folder / found[0] if len(found) == 1 else None


# Names of files and folders that are being written.
_UNFINISHED: set[Path] = set()

# What takes long to write has a name from which the next process can tell what a killed one left:
# that of the result, so many random letters, and the ending.
_LETTERS, _ENDING = 8, ".unfinished"


def encoded(text: str) -> bytes:
    r"""A text in UTF-8, with bytes of a file's name that are no UTF-8 as `\udce9`."""
    return text.encode(errors="backslashreplace")


def write_file(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes a file under a temporary name, then renames it, so that no half of it is ever seen."""
    path = Path(path)
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    with _unfinished(temporary, path):
        temporary.write_bytes(data)
        temporary.replace(path)


@contextmanager
def unfinished_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write bit by bit: under a temporary name, and renamed when the block ends.

    If the block raises, it is removed. What killed processes left of the same file is removed
    first; locks tell it from what other processes still write.
    """
    path = Path(path)
    temporary = _temporary(path)
    with _unfinished(temporary, path):
        _remove_left_over(path)
        with temporary.open("x+b") as file, _locked(temporary):
            yield file
        temporary.replace(path)


@contextmanager
def unfinished_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A folder to fill: under a temporary name, and renamed when the block ends.

    If the folder is there already, the files are added to it and replace those of the same names.
    Otherwise as `unfinished_file`.
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


def remove_unfinished() -> None:
    """Removes what any thread is writing: for a process that ends at once."""
    for path in list(_UNFINISHED):
        _remove(path)


def check_writable(folder: str | os.PathLike[str]) -> None:
    """Raises InputError unless files can be written into a folder, which need not exist yet."""
    nearest = Path(folder).absolute()
    try:
        while not nearest.exists():
            nearest = nearest.parent
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise _cannot_be_written(folder, error) from error


@contextmanager
def _unfinished(temporary: Path, path: Path) -> Iterator[None]:
    """The temporary name is removed if the block raises; errors of the disk name the result."""
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
        raise _cannot_be_written(path, error) from error


def _cannot_be_written(path: str | os.PathLike[str], error: OSError) -> InputError:
    return InputError(f"{path}: cannot be written ({error.strerror}): choose another")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)  # another thread may still write into it
    else:
        path.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:_LETTERS]}{_ENDING}")


def _remove_left_over(path: Path) -> None:
    """Removes what killed processes left of a file or folder."""
    start = f".{path.name}."
    for other in path.parent.iterdir():
        letters = other.name.removeprefix(start).removesuffix(_ENDING)
        if other.name != f"{start}{letters}{_ENDING}" or len(letters) != _LETTERS:
            continue
        if fcntl is None and other.is_dir():  # on Windows it may still be in use
            continue
        # In use, or another user's, or gone by now.
        with suppress(BlockingIOError, PermissionError, FileNotFoundError), _locked(other):
            _remove(other)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """A file or folder that this process locks, until the block or the process ends.

    Raises:
        BlockingIOError: another process has locked it.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
