"""The routes of the page for clips: a preview of some frames, and the whole clip to download."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import flask
from werkzeug.datastructures import FileStorage

from harmony_jax.errors import InputError
from harmony_jax.photos.harmonizer import Harmonizer
from harmony_jax.photos.picture import Picture
from harmony_jax.web import transfer

_FRAMES = 6  # that are shown
_MEDIA_TYPES = {".mp4": "video/mp4", ".mov": "video/quicktime", ".mkv": "video/x-matroska"}


def video_routes(harmonizer: Harmonizer, max_upload_bytes: int, max_pixels: int) -> flask.Blueprint:
    """The page for clips; clips and masks of more bytes, or larger frames, are refused."""
    routes = flask.Blueprint("video", __name__)

    @routes.get("/video")
    def page() -> str:
        return flask.render_template("video.html", max_upload_bytes=max_upload_bytes)

    @routes.post("/video/preview")
    def preview() -> dict[str, Any]:
        """Some frames, each harmonized by itself."""
        from harmony_jax.video.run import preview

        with _uploaded(max_upload_bytes) as (clip, mask, folder):
            shown, count, found = preview(harmonizer, clip, mask, _FRAMES, max_pixels)
            remarks = [_as_uploaded(remark, folder) for remark in found]
        show = transfer.preview
        frames = [
            {"number": number, "before": show(Picture(before)), "after": show(Picture(after))}
            for number, before, after in shown
        ]
        return {"count": count, "remarks": remarks, "frames": frames}

    @routes.post("/video/download")
    def download() -> flask.Response:
        """The whole clip."""
        from harmony_jax.video.run import VideoSettings, harmonize_clip

        ending = transfer.chosen_ending(_MEDIA_TYPES)
        strength = flask.request.form.get("strength", type=float, default=-1.0)
        with _uploaded(max_upload_bytes) as (clip, mask, folder):
            output = folder / f"harmonized{ending}"
            settings = VideoSettings(strength=strength, max_pixels=max_pixels)
            harmonize_clip(harmonizer, clip, mask, output, settings)
            data = output.read_bytes()
        return transfer.download(data, "clip", ending, _MEDIA_TYPES[ending])

    return routes


@contextmanager
def _uploaded(max_upload_bytes: int) -> Iterator[tuple[Path, Path | None, Path]]:
    """The request's clip, its mask if there is one, and a folder, all removed in the end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fields = ("clip", "mask") if "mask" in flask.request.files else ("clip",)
        paths = []
        for field in fields:
            file = transfer.upload(field, max_upload_bytes)
            paths.append(folder / _name_here(field, file))
            file.save(paths[-1])
        try:
            yield paths[0], paths[1] if len(paths) > 1 else None, folder
        except InputError as error:
            raise InputError(_as_uploaded(str(error), folder)) from error


def _name_here(field: str, file: FileStorage) -> str:
    return f"{field}{Path(file.filename or '').suffix.lower()}"


def _as_uploaded(text: str, folder: Path) -> str:
    """A message in which files have the names that they were uploaded under."""
    for field, file in flask.request.files.items():
        text = text.replace(str(folder / _name_here(field, file)), file.filename or field)
    return text.replace(f"{folder}/", "")
