"""Pictures as the page shows them, and the names of uploaded files."""

import base64
from pathlib import Path

import numpy as np
from werkzeug.datastructures import FileStorage

from harmony_jax.data.resizing import at_most

PREVIEW_SIDE = 1600  # pixels, at most; masks are painted at this size


def shrunk(pixels: np.ndarray) -> np.ndarray:
    """At most `PREVIEW_SIDE` pixels a side."""
    return at_most(pixels, PREVIEW_SIDE)


def address(media_type: str, data: bytes) -> str:
    """A file's content as an address that pictures may have."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def stem_of(file: FileStorage) -> str:
    """The name that an uploaded file has where it comes from, in any script, but no path."""
    name = (file.filename or "").replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in Path(name).stem if c.isprintable()).strip(". ") or "photo"
