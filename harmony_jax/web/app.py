"""The page's routes. The server keeps nothing: every request brings its photo and mask."""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import cv2
import flask
import numpy as np
from werkzeug.exceptions import Forbidden, HTTPException, RequestEntityTooLarge

from harmony_jax.errors import InputError
from harmony_jax.photos.folders import harmonize_picture
from harmony_jax.photos.formats import (
    ENDINGS,
    Picture,
    count_pixels,
    decode_picture,
    encode_picture,
    to_eight_bits,
)
from harmony_jax.photos.harmonizer import Harmonizer
from harmony_jax.photos.masks import (
    PixelMask,
    alpha_mask,
    check_mask,
    fill_hidden,
    fit_size,
    mask_of,
)
from harmony_jax.photos.options import place
from harmony_jax.photos.pasting import Placement, opacity_of, paste
from harmony_jax.photos.pixel_budget import PixelBudget
from harmony_jax.web.pictures import PREVIEW_SIDE, address, shrunk, stem_of
from harmony_jax.web.video import video_routes

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

    limits = _Limits(max_upload_bytes, max_pixels, PixelBudget(max_pixels))
    app.register_blueprint(video_routes(harmonizer, max_upload_bytes, max_pixels))

    @app.before_request
    def refuse_other_sites() -> None:
        """Any page that is open in the browser could send forms here, and have work done."""
        request = flask.request
        origin = request.headers.get("Origin")
        site = request.headers.get("Sec-Fetch-Site", "none")
        foreign = origin is not None and origin != f"http://{request.host}"
        if request.method == "POST" and (foreign or site not in ("same-origin", "none")):
            raise Forbidden

    @app.get("/")
    def page() -> str:
        endings = ",".join(ENDINGS)
        return flask.render_template(
            "page.html", max_upload_bytes=max_upload_bytes, endings=endings
        )

    @app.post("/photo")
    def photo() -> dict[str, Any]:
        """The photo's size, and a preview that any browser can show."""
        with _uploaded(limits, "photo") as (picture,):
            height, width, _ = picture.pixels.shape
            return {
                "width": width,
                "height": height,
                "preview": _preview(picture),
                "alpha_mask": _alpha_preview(picture),
            }

    @app.post("/mask")
    def mask() -> dict[str, Any]:
        """An uploaded mask at the preview's size, to look at and to paint on, and its own size."""
        size = [flask.request.form.get(side, type=int, default=0) for side in ("height", "width")]
        height, width = (min(max(side, 1), PREVIEW_SIDE) for side in size)
        with _uploaded(limits, "mask") as (picture,):
            found, remark = mask_of(picture)
            return {
                "mask": _mask_address(fit_size(found, height, width)),
                "width": found.shape[1],
                "height": found.shape[0],
                "remark": remark,
            }

    @app.post("/cutout")
    def cutout() -> dict[str, Any]:
        """The part of a cutout that is not transparent, to be placed, and where it lies in it."""
        with _uploaded(limits, "cutout") as (picture,):
            alpha = opacity_of(picture)
            left, top, width, height = cv2.boundingRect(alpha)
            part = (slice(top, top + height), slice(left, left + width))
            pixels = fill_hidden(to_eight_bits(picture).pixels, alpha)  # which shrinking mixes in
            shown = Picture(shrunk(pixels[part]), shrunk(alpha[part]))
            return {
                "preview": address("image/png", encode_picture(shown, ".png")),
                "left": left,
                "top": top,
                "width": width,
                "height": height,
            }

    @app.post("/harmonize")
    def harmonize() -> dict[str, Any]:
        """Previews of the result at full strength, and the blend mask."""
        with _photo_and_mask(limits) as (picture, foreground):
            result, blend_mask = harmonize_picture(harmonizer, picture, foreground)
            painted = None
            if blend_mask is not None:
                preview = shrunk(result.pixels)
                size = (preview.shape[1], preview.shape[0])
                shown = np.rint(cv2.resize(blend_mask, size) * 255).astype(np.uint8)
                painted = _mask_address(shown)
            return {"preview": _preview(result), "blend_mask": painted}

    @app.post("/download")
    def download() -> flask.Response:
        """The result at the photo's own size."""
        strength = flask.request.form.get("strength", type=float, default=-1.0)
        ending = flask.request.form.get("ending", "")
        if ending not in _MEDIA_TYPES:
            raise InputError(f"format {ending!r}: choose one of {', '.join(_MEDIA_TYPES)}")
        with _photo_and_mask(limits) as (picture, foreground):
            result, _ = harmonize_picture(harmonizer, picture, foreground, strength)
            data = encode_picture(result, ending)
        return flask.send_file(
            io.BytesIO(data),
            mimetype=_MEDIA_TYPES[ending],
            as_attachment=True,
            download_name=f"{stem_of(flask.request.files['photo'])}_harmonized{ending}",
        )

    @app.errorhandler(InputError)
    def refused(error: InputError) -> tuple[dict[str, str], int]:
        return {"error": str(error)}, 400

    @app.errorhandler(RequestEntityTooLarge)
    def too_large(error: RequestEntityTooLarge) -> tuple[dict[str, str], int]:
        return {"error": _too_large("the upload", max_upload_bytes)}, 413

    @app.errorhandler(MemoryError)
    def no_memory(error: MemoryError) -> tuple[dict[str, str], int]:
        return {"error": "not enough memory for this photo: make it smaller"}, 507

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


class _Limits(NamedTuple):
    upload_bytes: int  # of each file
    pixels: int  # of each picture
    budget: PixelBudget  # of all requests together


@contextmanager
def _uploaded(limits: _Limits, *fields: str) -> Iterator[list[Picture]]:
    """The request's pictures, for which others may have to wait until the block ends."""
    files = [(*_content(field, limits.upload_bytes), limits.pixels) for field in fields]
    with limits.budget.hold(sum(count_pixels(*file) for file in files)):
        yield [decode_picture(*file) for file in files]


def _content(field: str, most: int) -> tuple[bytes, str]:
    """An uploaded file's content, and what it is called in messages."""
    file = flask.request.files.get(field)
    data = file.read() if file else b""
    label = (file.filename if file else None) or field
    if not data:
        raise InputError(f"{label}: the file is empty: choose another")
    if len(data) > most:
        raise InputError(_too_large(label, most))
    return data, label


def _too_large(label: str, most: int) -> str:
    return f"{label} is larger than {most / 1e6:g} MB: make it smaller"


@contextmanager
def _photo_and_mask(limits: _Limits) -> Iterator[tuple[Picture, PixelMask]]:
    """The request's photo, and its mask at the photo's size; by default the alpha channel.

    With a cutout, the photo is its background.
    """
    if "cutout" in flask.request.files:
        with _uploaded(limits, "photo", "cutout") as (background, picture):
            composite, foreground = paste(picture, background, _placement(), limits.pixels)
            check_mask(foreground)
            yield composite, foreground
        return
    fields = ("photo", "mask") if "mask" in flask.request.files else ("photo",)
    with _uploaded(limits, *fields) as (picture, *masks):
        if masks:
            foreground = fit_size(mask_of(masks[0]).mask, *picture.pixels.shape[:2])
        else:
            foreground, picture = alpha_mask(picture), picture._replace(alpha=None)
        if flask.request.form.get("invert") == "true":
            foreground = 255 - foreground
        check_mask(foreground)
        yield picture, foreground


def _placement() -> Placement:
    """Where the request says that its cutout lies."""
    scale = flask.request.form.get("scale", type=float, default=math.nan)
    return Placement(at=place(flask.request.form.get("at", "")), scale=scale)


def _alpha_preview(picture: Picture) -> str | None:
    """The alpha channel, if it could be a mask."""
    if picture.alpha is None or picture.alpha.min() == picture.alpha.max():
        return None
    return _mask_address(shrunk(alpha_mask(picture)))


def _preview(picture: Picture) -> str:
    small = Picture(shrunk(picture.pixels), None, picture.grey, picture.icc_profile)
    return address("image/jpeg", encode_picture(small, ".jpg"))


def _mask_address(mask: PixelMask) -> str:
    picture = Picture(np.repeat(mask[:, :, None], 3, 2), grey=True)
    return address("image/png", encode_picture(picture, ".png"))
