"""Forms as the page sends them, and pictures as it gets them."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def post(client, path: str, **fields):
    """Sends a form, encoded without the client's own temporary file; bytes and paths are files."""
    form = {}
    for name, value in fields.items():
        if isinstance(value, bytes):
            value = FileStorage(io.BytesIO(value), f"{name}.png")
        elif isinstance(value, Path):
            value = FileStorage(io.BytesIO(value.read_bytes()), value.name)
        form[name] = value
    boundary, data = encode_multipart(form)
    return client.post(path, data=data, content_type=f"multipart/form-data; boundary={boundary}")


def picture(address: str) -> np.ndarray:
    """The pixels of an address that holds its picture."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))
