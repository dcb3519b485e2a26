"""The page's routes. The server keeps nothing: every request brings its photo and mask."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import cv2
import flask
import numpy as np
from werkzeug.exceptions import Forbidden, HTTPException, RequestEntityTooLarge

from harmony_jax.data.resizing import limited
from harmony_jax.errors import InputError
from harmony_jax.photos.decoding import count_pixels, decode_picture
from harmony_jax.photos.encoding import encode_picture
from harmony_jax.photos.folders import harmonize_picture
from harmony_jax.photos.harmonizer import Harmonizer
from harmony_jax.photos.kinds import ENDINGS
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
from harmony_jax.photos.picture import Picture, to_eight_bits
from harmony_jax.photos.pixel_budget import PixelBudget
from harmony_jax.web import transfer
from harmony_jax.web.video import video_routes

# Nothing but the page's own files, and pictures made of what the server sent.
_POLICY = "default-src 'self'; img-src 'self' data: blob:"
_PATIENCE = 60.0  # seconds that a request waits for the memory that others hold
_MEDIA_TYPES = {
    ending: f"image/{name}"
    for ending, name in ((".png", "png"), (".jpg", "jpeg"), (".webp", "webp"), (".tif", "tiff"))
}


def create_app(harmonizer: Harmonizer, max_upload_bytes: int, max_pixels: int) -> flask.Flask:
    """The page as a WSGI application; files of more bytes, or more pixels, are refused."""
    app = flask.Flask(__name__, template_folder="static")
    app.config["MAX_CONTENT_LENGTH"] = request_bytes(max_upload_bytes)
    # Only another site that made its name point here would use another name.
    app.config["TRUSTED_HOSTS"] = ["127.0.0.1", "localhost"]

    limits = _Limits(max_upload_bytes, max_pixels, PixelBudget(max_pixels))
    app.register_blueprint(video_routes(harmonizer, max_upload_bytes, max_pixels))

    @app.before_request
    def refuse_other_sites() -> None:
        """Rejects cross-site requests: any page in the browser could send forms here."""
        request = flask.request
        origin = request.headers.get("Origin")
        site = request.headers.get("Sec-Fetch-Site", "none")
        foreign = origin is not None and origin != f"http://{request.host}"
        if request.method == "POST" and (foreign or site not in ("same-origin", "none")):
            raise Forbidden

    @app.get("/")
    def page() -> str:
        accepted = ",".join(["image/*", *ENDINGS])
        return flask.render_template(
            "page.html", max_upload_bytes=max_upload_bytes, accepted=accepted
        )

    @app.post("/photo")
    def photo() -> dict[str, Any]:
        """The photo's size, and a preview that any browser can show."""
        with _uploaded(limits, "photo") as (picture,):
            height, width, _ = picture.pixels.shape
            alpha, shown_alpha = picture.alpha, None
            if alpha is not None and alpha.min() < alpha.max():
                shown_alpha = _mask_shown(alpha_mask(picture))
            return {
                "width": width,
                "height": height,
                "preview": _shown(picture),
                "alpha_mask": shown_alpha,
            }

    @app.post("/mask")
    def mask() -> dict[str, Any]:
        """An uploaded mask at the preview's size, to be painted on, and its own size."""
        size = [flask.request.form.get(side, type=int, default=0) for side in ("height", "width")]
        height, width = (min(max(side, 1), transfer.PREVIEW_SIDE) for side in size)
        with _uploaded(limits, "mask") as (picture,):
            found, remark = mask_of(picture)
            return {
                "mask": _mask_shown(fit_size(found, height, width)),
                "width": found.shape[1],
                "height": found.shape[0],
                "remark": remark,
            }

    @app.post("/cutout")
    def cutout() -> dict[str, Any]:
        """The visible part of a cutout, and where it lies in the cutout."""
        with _uploaded(limits, "cutout") as (picture,):
            alpha = opacity_of(picture)
            left, top, width, height = cv2.boundingRect(alpha)
            part = (slice(top, top + height), slice(left, left + width))
            pixels = fill_hidden(to_eight_bits(picture).pixels, alpha)  # which shrinking mixes in
            shown = Picture(pixels[part], alpha[part])
            return {
                "preview": transfer.preview(shown, "image/png"),
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
                height, width, _ = limited(result.pixels, transfer.PREVIEW_SIDE).shape
                shown = np.rint(cv2.resize(blend_mask, (width, height)) * 255).astype(np.uint8)
                painted = _mask_shown(shown)
            return {"preview": _shown(result), "blend_mask": painted}

    @app.post("/download")
    def download() -> flask.Response:
        """The result at the photo's own size."""
        ending = transfer.chosen_ending(_MEDIA_TYPES)
        strength = flask.request.form.get("strength", type=float, default=-1.0)
        with _photo_and_mask(limits) as (picture, foreground):
            result, _ = harmonize_picture(harmonizer, picture, foreground, strength)
            data = encode_picture(result, ending)
        return transfer.download(data, "photo", ending, _MEDIA_TYPES[ending])

    @app.errorhandler(InputError)
    def refused(error: InputError) -> tuple[dict[str, str], int]:
        return {"error": str(error)}, 400

    @app.errorhandler(RequestEntityTooLarge)
    def too_large(error: RequestEntityTooLarge) -> tuple[dict[str, str], int]:
        return {"error": transfer.too_large("the upload", max_upload_bytes)}, 413

    @app.errorhandler(MemoryError)
    def no_memory(error: MemoryError) -> tuple[dict[str, str], int]:
        return {"error": "not enough memory for this photo: make it smaller"}, 507

    @app.errorhandler(TimeoutError)
    def busy(error: TimeoutError) -> tuple[dict[str, str], int, dict[str, str]]:
        text = "other photos are being made: try again in a minute"
        return {"error": text}, 503, {"Retry-After": "60"}

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
    """The request's pictures; other requests may wait for their memory until the block ends."""
    uploads = [transfer.upload(field, limits.upload_bytes) for field in fields]
    files = [
        (upload.read(), upload.filename or field, limits.pixels, field == "mask")
        for field, upload in zip(fields, uploads, strict=True)
    ]
    with limits.budget.hold(sum(count_pixels(*file) for file in files), _PATIENCE):
        yield [decode_picture(*file) for file in files]


@contextmanager
def _photo_and_mask(limits: _Limits) -> Iterator[tuple[Picture, PixelMask]]:
    """The request's photo, and its mask at the photo's size; by default the alpha channel.

    With a cutout, the photo is its background.
    """
    if "cutout" in flask.request.files:
        scale = flask.request.form.get("scale", type=float, default=math.nan)
        placement = Placement(at=place(flask.request.form.get("at", "")), scale=scale)
        with _uploaded(limits, "photo", "cutout") as (background, picture):
            composite, foreground = paste(picture, background, placement, limits.pixels)
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


def _shown(picture: Picture) -> str:
    return transfer.preview(
        Picture(picture.pixels, grey=picture.grey, icc_profile=picture.icc_profile)
    )


def _mask_shown(mask: PixelMask) -> str:
    return transfer.preview(Picture(np.repeat(mask[:, :, None], 3, 2), grey=True), "image/png")
