"""What comes from the browser and goes back to it: uploads, previews and downloads."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path

import flask
from werkzeug.datastructures import FileStorage

from harmony_jax.data.resizing import limited
from harmony_jax.errors import InputError
from harmony_jax.photos.encoding import encode_picture
from harmony_jax.photos.picture import Picture

PREVIEW_SIDE = 1600  # pixels, at most; masks are painted at this size


def upload(field: str, most: int) -> FileStorage:
    """The request's file, which may have `most` bytes."""
    file = flask.request.files.get(field)
    label = (file.filename if file else None) or field
    size = file.stream.seek(0, io.SEEK_END) if file else 0
    if file is None or not size:
        raise InputError(f"{label}: the file is empty: choose another")
    if size > most:
        raise InputError(too_large(label, most))
    file.stream.seek(0)
    return file


def too_large(label: str, most: int) -> str:
    """What to say of an upload with more than `most` bytes."""
    return f"{label} is larger than {most / 1e6:g} MB: make it smaller"


def preview(picture: Picture, media_type: str = "image/jpeg") -> str:
    """A picture at a size for the screen, as an address that the page can show."""
    alpha = None if picture.alpha is None else limited(picture.alpha, PREVIEW_SIDE)
    small = picture._replace(pixels=limited(picture.pixels, PREVIEW_SIDE), alpha=alpha)
    ending = {"image/jpeg": ".jpg", "image/png": ".png"}[media_type]
    data = base64.b64encode(encode_picture(small, ending)).decode()
    return f"data:{media_type};base64,{data}"


def chosen_ending(media_types: Mapping[str, str]) -> str:
    """The ending that the request wants of its download."""
    ending = flask.request.form.get("ending", "")
    if ending not in media_types:
        raise InputError(f"format {ending!r}: choose one of {', '.join(media_types)}")
    return ending


def download(data: bytes, source: str, ending: str, media_type: str) -> flask.Response:
    """An answer to be saved, under the name of the file that was uploaded as field `source`."""
    name = (flask.request.files[source].filename or "").replace("\\", "/").rpartition("/")[2]
    stem = "".join(c for c in Path(name).stem if c.isprintable()).strip(". ") or "photo"
    return flask.send_file(
        io.BytesIO(data),
        mimetype=media_type,
        as_attachment=True,
        download_name=f"{stem}_harmonized{ending}",
    )
