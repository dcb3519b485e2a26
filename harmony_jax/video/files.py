"""Which files are clips, and which pictures a folder of frames has, in order."""

import re
from pathlib import Path

from harmony_jax.errors import InputError
from harmony_jax.photos.formats import ENDINGS

# Containers that are written, by the endings of their files.
CONTAINERS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
}

# Endings of clips, which FFmpeg tells by their content; others may be clips too.
CLIP_ENDINGS = (
    *CONTAINERS,
    *(".avi", ".mxf", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ogv"),
    *(".nut", ".dv", ".y4m"),
)


def is_clip(path: Path) -> bool:
    """Whether a file is a clip by its ending."""
    return path.suffix.lower() in CLIP_ENDINGS


def pictures_in(folder: Path) -> list[Path]:
    """A folder's pictures by their names, in which numbers count as numbers.

    Raises:
        InputError: there is none.
    """
    paths = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in ENDINGS and not path.name.startswith(".")
    ]
    if not paths:
        raise InputError(f"{folder}: there is no picture in this folder: check the path")
    return sorted(paths, key=_order)


def _order(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdigit() else (0, part) for part in parts]
