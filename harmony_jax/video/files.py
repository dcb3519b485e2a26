"""Which files are clips, and which pictures a folder of frames has, in order."""

import re
from pathlib import Path

from harmony_jax.errors import InputError
from harmony_jax.photos.kinds import ENDINGS

# Containers that are written, by the endings of files.
CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}

# Endings by which a file is taken for a clip; FFmpeg itself goes by the content.
CLIP_ENDINGS = (
    *CONTAINERS,
    *(".avi", ".mxf", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ogv"),
    *(".nut", ".dv", ".y4m"),
)


def is_clip(path: Path) -> bool:
    """Whether a file is a clip by its ending."""
    return path.suffix.lower() in CLIP_ENDINGS


def pictures_in(folder: Path) -> list[Path]:
    """A folder's pictures in the order of their names, in which 9 comes before 10."""
    paths = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in ENDINGS and not path.name.startswith(".")
    ]
    if not paths:
        raise InputError(f"{folder}: there is no picture in this folder: check the path")
    return sorted(paths, key=lambda path: re.sub(r"\d+", lambda n: n[0].zfill(20), path.name))
