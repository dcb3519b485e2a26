"""The routes of the page for clips: a preview of some frames, and the whole clip to download."""

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import flask
from werkzeug.datastructures import FileStorage

from harmony_jax.errors import InputError
from harmony_jax.photos.formats import Picture, encode_picture
from harmony_jax.photos.harmonizer import Harmonizer
from harmony_jax.web.pictures import address, shrunk, stem_of

_FRAMES = 6  # that are shown
_ENDINGS = {".mp4": "video/mp4", ".mov": "video/quicktime", ".mkv": "video/x-matroska"}


def video_routes(harmonizer: Harmonizer, max_upload_bytes: int, max_pixels: int) -> flask.Blueprint:
    """The page for clips.

    Args:
        harmonizer: does the work.
        max_upload_bytes: larger clips and masks are refused.
        max_pixels: so are clips with larger frames.
    """
    routes = flask.Blueprint("video", __name__)

    @routes.get("/video")
    def page() -> str:
        return flask.render_template("video.html", max_upload_bytes=max_upload_bytes)

    @routes.post("/video/preview")
    def preview() -> dict[str, Any]:
        """Some frames, harmonized each by itself."""
        from harmony_jax.video.preview import preview

        with _uploaded(max_upload_bytes) as (clip, mask, folder):
            found = preview(harmonizer, clip, mask, _FRAMES, max_pixels)
            remarks = [_as_uploaded(remark, folder) for remark in found.remarks]
        return {
            "count": found.total,
            "remarks": remarks,
            "frames": [
                {
                    "number": frame.number,
                    "before": _shown(Picture(frame.before)),
                    "after": _shown(Picture(frame.after)),
                }
                for frame in found.frames
            ],
        }

    @routes.post("/video/download")
    def download() -> flask.Response:
        """The whole clip."""
        from harmony_jax.video.run import VideoSettings, harmonize_clip

        strength = flask.request.form.get("strength", type=float, default=-1.0)
        ending = flask.request.form.get("ending", "")
        if ending not in _ENDINGS:
            raise InputError(f"format {ending!r}: choose one of {', '.join(_ENDINGS)}")
        if not 0 <= strength <= 1:
            raise InputError(f"strength {strength:g}: expected 0 to 1")
        with _uploaded(max_upload_bytes) as (clip, mask, folder):
            output = folder / f"harmonized{ending}"
            harmonize_clip(harmonizer, clip, mask, output, VideoSettings(strength=strength))
            data = output.read_bytes()
        return flask.send_file(
            io.BytesIO(data),
            mimetype=_ENDINGS[ending],
            as_attachment=True,
            download_name=f"{stem_of(flask.request.files['clip'])}_harmonized{ending}",
        )

    return routes


@contextmanager
def _uploaded(max_upload_bytes: int) -> Iterator[tuple[Path, Path | None, Path]]:
    """The request's clip, its mask if there is one, and a folder, all of which are then removed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = _saved("clip", folder, max_upload_bytes)
        if clip is None:
            raise InputError("clip: the file is empty: choose another")
        mask = _saved("mask", folder, max_upload_bytes)
        try:
            yield clip, mask, folder
        except InputError as error:
            raise InputError(_as_uploaded(str(error), folder)) from error


def _as_uploaded(text: str, folder: Path) -> str:
    """A message in which files have the names that they have where they come from."""
    for field, file in flask.request.files.items():
        path = folder / _name_here(field, file)
        text = text.replace(str(path), file.filename or field)
    return text.replace(f"{folder}/", "")


def _name_here(field: str, file: FileStorage) -> str:
    return f"{field}{Path(file.filename or '').suffix.lower()}"


def _saved(field: str, folder: Path, most: int) -> Path | None:
    file: FileStorage | None = flask.request.files.get(field)
    if file is None or not file.filename:
        return None
    path = folder / _name_here(field, file)
    file.save(path)
    if path.stat().st_size > most:
        raise InputError(f"{file.filename} is larger than {most / 1e6:g} MB: use the command")
    return path


def _shown(picture: Picture) -> str:
    small = picture._replace(pixels=shrunk(picture.pixels))
    return address("image/jpeg", encode_picture(small, ".jpg"))
