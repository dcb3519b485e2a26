"""The folders of a run's checkpoints: which steps there are, and whether their files are intact.

All of it works without orbax, which takes long to load.
"""

import json
import shutil
import zlib
from pathlib import Path
from typing import Any

from harmony_jax.disk import write_file

FOLDER = "checkpoints"  # in the workdir; holds a folder for each step

_VALIDATION = "validation.json"
_FILES = "files.json"  # path to size and CRC-32
_CHUNK_BYTES = 1 << 20


def saved_steps(folder: Path) -> list[int]:
    """Steps with a checkpoint in a `checkpoints` folder; none if there is no such folder."""
    if not folder.is_dir():
        return []
    names = [child.name for child in folder.iterdir()]
    return sorted(int(name) for name in names if name.isdecimal() and str(int(name)) == name)


def is_being_written(folder: Path) -> bool:
    """Whether a `checkpoints` folder holds an unfinished checkpoint, which orbax renames later."""
    return folder.is_dir() and any("orbax-checkpoint-tmp" in path.name for path in folder.iterdir())


def read_json(path: Path) -> Any:
    """What a JSON file holds; ValueError if it is not JSON."""
    try:
        return json.loads(path.read_bytes())
    except RecursionError as error:
        raise ValueError(f"{path}: nested too deeply") from error


def write_validation(folder: Path, metrics: dict[str, float]) -> None:
    """Adds the metrics of a validation to a step's folder."""
    write_file(folder / _VALIDATION, json.dumps(metrics).encode())


def read_validation(folder: Path) -> dict[str, float] | None:
    """The metrics of a step's validation; None if it was not validated, or its file is damaged."""
    try:
        found = read_json(folder / _VALIDATION)
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def move_aside(folder: Path) -> Path:
    """Moves a step's folder to `damaged`, beside `checkpoints`; the new path."""
    target = folder.parent.parent / "damaged" / folder.name
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(exist_ok=True)
    return folder.rename(target)


def list_files(folder: Path, *items: str) -> None:
    """Writes a list of the files of some items of a checkpoint, for `find_damage`."""
    found = {
        path.relative_to(folder).as_posix(): _size_and_sum(path)
        for item in items
        for path in sorted((folder / item).rglob("*"))
        if path.is_file()
    }
    write_file(folder / _FILES, json.dumps(found).encode())


def find_damage(folder: Path, item: str = "") -> str | None:
    """Compares the files of a checkpoint, or of one item of it, with the list of them.

    Returns:
        Which file is missing, truncated or modified; None if all are intact. Another OSError of
        reading a file is raised.
    """
    try:
        listed = read_json(folder / _FILES)
        names = [name for name in listed if name.startswith(item)]
        if not names:
            return f"{_FILES} lists no file of {item or 'it'}"
        for name in names:
            if _size_and_sum(folder / name) != tuple(listed[name]):
                return f"{name} is truncated or modified"
    except FileNotFoundError as error:
        return f"{Path(error.filename).relative_to(folder)} is missing"
    except (AttributeError, TypeError, ValueError):
        return f"{_FILES} is truncated or modified"
    return None


def _size_and_sum(path: Path) -> tuple[int, int]:
    size = crc = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            size += len(chunk)
            crc = zlib.crc32(chunk, crc)
    return size, crc
