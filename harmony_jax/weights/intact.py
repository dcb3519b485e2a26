"""Whether a checkpoint's files are as they were written: a list of them lies among them."""

import json
import zlib
from pathlib import Path

from harmony_jax.disk import write_file

_LIST = "files.json"  # in the step's folder: path to size and CRC-32
_CHUNK_BYTES = 1 << 20


def list_files(folder: Path, *items: str) -> None:
    """Writes the list of all files that some items of a checkpoint consist of."""
    found = {
        path.relative_to(folder).as_posix(): _size_and_sum(path)
        for item in items
        for path in sorted((folder / item).rglob("*"))
        if path.is_file()
    }
    write_file(folder / _LIST, json.dumps(found).encode())


def find_damage(folder: Path, *items: str) -> str | None:
    """What is wrong with the files of some items: one is missing, short, or other than it was.

    Returns:
        None if all are intact, or it cannot be told: older checkpoints have no list.

    Raises:
        OSError: a file that is there cannot be read.
    """
    try:
        listed = json.loads((folder / _LIST).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        return f"{_LIST} is not as it was written"
    for name, (size, crc) in listed.items():
        if name.partition("/")[0] not in items:
            continue
        path = folder / name
        if not path.exists():
            return f"{name} is missing"
        found_size, found_crc = _size_and_sum(path)
        if found_size != size:
            return f"{name} has {found_size} of {size} bytes"
        if found_crc != crc:
            return f"{name} is not as it was written"
    return None


def _size_and_sum(path: Path) -> tuple[int, int]:
    size = crc = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            size += len(chunk)
            crc = zlib.crc32(chunk, crc)
    return size, crc
