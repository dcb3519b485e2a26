"""The page's routes. The server keeps nothing: every request brings its photo and mask."""

import base64
import io
from pathlib import Path
from typing import Any

import cv2
import flask
import numpy as np
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.utils import secure_filename

from harmony_jax.errors import InputError
from harmony_jax.harmonizer import Harmonizer
from harmony_jax.masks import Mask, alpha_mask, check_mask, fit_size, mask_of
from harmony_jax.pictures import Picture, decode_picture, encode_picture
from harmony_jax.predict import harmonize_picture

PREVIEW_SIDE = 1600  # pixels, at most; masks are painted at this size

# The page's own files alone, and pictures made from what the server sent.
_POLICY = "default-src 'self'; img-src 'self' data: blob:"
_MEDIA_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".tif": "image/tiff",
}


def create_app(harmonizer: Harmonizer, max_upload_bytes: int, max_pixels: int) -> flask.Flask:
    """The page as a WSGI application.

    Args:
        harmonizer: does the work.
        max_upload_bytes: larger photos and masks are refused.
        max_pixels: so are pictures with more pixels.
    """
    app = flask.Flask(__name__, template_folder="static")
    app.config["MAX_CONTENT_LENGTH"] = request_bytes(max_upload_bytes)
    # Other names could only come from a foreign page that made its own name point here.
    app.config["TRUSTED_HOSTS"] = ["127.0.0.1", "localhost"]

    @app.get("/")
    def page() -> str:
        return flask.render_template("page.html", max_upload_bytes=max_upload_bytes)

    @app.post("/photo")
    def photo() -> dict[str, Any]:
        """The photo's size, and a preview that any browser can show."""
        picture = _uploaded("photo", max_pixels)
        height, width, _ = picture.pixels.shape
        return {
            "width": width,
            "height": height,
            "preview": _preview(picture),
            "alpha_mask": _alpha_preview(picture),
        }

    @app.post("/mask")
    def mask() -> dict[str, Any]:
        """An uploaded mask at the preview's size, to look at and to paint on."""
        size = [flask.request.form.get(side, type=int, default=0) for side in ("height", "width")]
        height, width = (min(max(side, 1), PREVIEW_SIDE) for side in size)
        found = mask_of(_uploaded("mask", max_pixels))
        return {"mask": _mask_address(fit_size(found, height, width))}

    @app.post("/harmonize")
    def harmonize() -> dict[str, Any]:
        """Previews of the result at full strength, and the blend mask."""
        picture, foreground = _photo_and_mask(max_pixels)
        result, blend_mask = harmonize_picture(harmonizer, picture, foreground)
        painted = None
        if blend_mask is not None:
            preview = _shrunk(result.pixels)
            size = (preview.shape[1], preview.shape[0])
            shown = np.rint(cv2.resize(blend_mask, size) * 255).astype(np.uint8)
            painted = _mask_address(shown)
        return {"preview": _preview(result), "blend_mask": painted}

    @app.post("/download")
    def download() -> flask.Response:
        """The result at the photo's own size."""
        picture, foreground = _photo_and_mask(max_pixels)
        strength = flask.request.form.get("strength", type=float, default=-1.0)
        ending = flask.request.form.get("ending", "")
        if ending not in _MEDIA_TYPES:
            raise InputError(f"format {ending!r}: choose one of {', '.join(_MEDIA_TYPES)}")
        result, _ = harmonize_picture(harmonizer, picture, foreground, strength)
        data = encode_picture(result, ending)
        stem = Path(secure_filename(flask.request.files["photo"].filename or "")).stem
        return flask.send_file(
            io.BytesIO(data),
            mimetype=_MEDIA_TYPES[ending],
            as_attachment=True,
            download_name=f"{stem or 'photo'}_harmonized{ending}",
        )

    @app.errorhandler(InputError)
    def refused(error: InputError) -> tuple[dict[str, str], int]:
        return {"error": str(error)}, 400

    @app.errorhandler(RequestEntityTooLarge)
    def too_large(error: RequestEntityTooLarge) -> tuple[dict[str, str], int]:
        megabytes = max_upload_bytes / 1e6
        return {"error": f"the upload is larger than {megabytes:g} MB: make it smaller"}, 413

    @app.errorhandler(HTTPException)
    def other(error: HTTPException) -> tuple[dict[str, str], int]:
        return {"error": f"{error.code} {error.name}"}, error.code or 500

    @app.after_request
    def protect(response: flask.Response) -> flask.Response:
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["Cache-Control"] = "no-store"
        return response

    return app


def request_bytes(max_upload_bytes: int) -> int:
    """The largest request: a photo, a mask, and what is around them."""
    return 2 * max_upload_bytes + 100_000


def _uploaded(field: str, max_pixels: int) -> Picture:
    file = flask.request.files.get(field)
    data = file.read() if file else b""
    label = (file.filename if file else None) or field
    if not data:
        raise InputError(f"{label}: the file is empty: choose another")
    return decode_picture(data, label, max_pixels)


def _photo_and_mask(max_pixels: int) -> tuple[Picture, Mask]:
    """The request's photo, and its mask at the photo's size; by default the alpha channel."""
    picture = _uploaded("photo", max_pixels)
    if "mask" in flask.request.files:
        foreground = mask_of(_uploaded("mask", max_pixels))
        foreground = fit_size(foreground, *picture.pixels.shape[:2])
    else:
        foreground, picture = alpha_mask(picture), picture._replace(alpha=None)
    if flask.request.form.get("invert") == "true":
        foreground = 255 - foreground
    check_mask(foreground)
    return picture, foreground


def _alpha_preview(picture: Picture) -> str | None:
    """The alpha channel, if it could be a mask."""
    if picture.alpha is None or picture.alpha.min() == picture.alpha.max():
        return None
    return _mask_address(_shrunk(alpha_mask(picture)))


def _preview(picture: Picture) -> str:
    small = picture._replace(pixels=_shrunk(picture.pixels), alpha=None, exif=None)
    return _address("image/jpeg", encode_picture(small, ".jpg"))


def _mask_address(mask: Mask) -> str:
    picture = Picture(np.repeat(mask[:, :, None], 3, 2), grey=True)
    return _address("image/png", encode_picture(picture, ".png"))


def _shrunk(pixels: np.ndarray) -> np.ndarray:
    """At most `PREVIEW_SIDE` pixels a side."""
    scale = PREVIEW_SIDE / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)


def _address(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
