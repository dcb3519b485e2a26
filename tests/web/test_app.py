"""The page's routes, without a browser."""

import io
import re
import tempfile

import numpy as np
import pytest
from werkzeug.datastructures import FileStorage
from werkzeug.http import parse_options_header

from harmony_jax import Harmonizer
from harmony_jax.photos.decoding import decode_picture
from harmony_jax.photos.encoding import encode_picture
from harmony_jax.photos.folders import harmonize_picture
from harmony_jax.photos.kinds import ENDINGS
from harmony_jax.photos.picture import Picture
from harmony_jax.web import app
from harmony_jax.web.app import create_app
from harmony_jax.web.transfer import PREVIEW_SIDE
from tests.web.made import picture, png, post

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (60, 80, 3)).astype(np.uint8)
MASK = np.zeros((60, 80), np.uint8)
MASK[20:40, 20:50] = 255


@pytest.fixture(scope="module")
def harmonizer(trained):
    return Harmonizer.from_checkpoint(trained[1])


@pytest.fixture(scope="module")
def client(harmonizer):
    return create_app(harmonizer, max_upload_bytes=1_000_000, max_pixels=5_000_000).test_client()


@pytest.mark.parametrize(("path", "script"), [("/", "page.js"), ("/video", "video.js")])
def test_the_pages_and_their_files_come_from_the_server_alone(client, path, script):
    page = client.get(path)
    assert page.status_code == 200
    assert 'data-max-upload-bytes="1000000"' in page.text
    assert page.headers["Content-Security-Policy"].startswith("default-src 'self';")
    for name in (script, "shared.js", "page.css"):
        assert f"/static/{name}" in page.text
        with client.get(f"/static/{name}") as answer:
            text = answer.text
        assert len(text) > 1000
        assert "http" not in text
    assert "http" not in page.text


def test_the_page_lets_choose_every_kind_of_file_that_is_read(client):
    chosen = re.findall(r'accept="([^"]*)"', client.get("/").text)
    assert len(chosen) == 3  # photo, mask, cutout
    for accepted in chosen:
        assert accepted.split(",") == ["image/*", *ENDINGS]


def test_a_photo_is_shown_in_a_size_for_the_screen(client):
    answer = post(client, "/photo", photo=png(IMAGE)).get_json()
    assert (answer["width"], answer["height"], answer["alpha_mask"]) == (80, 60, None)
    assert np.abs(picture(answer["preview"]).astype(int) - IMAGE).mean() < 10  # JPEG of noise
    large = np.zeros((900, 2000, 3), np.uint8)
    answer = post(client, "/photo", photo=png(large)).get_json()
    assert answer["width"] == 2000
    assert picture(answer["preview"]).shape == (720, PREVIEW_SIDE, 3)


def test_who_waits_too_long_for_memory_is_told_to_come_back(client, monkeypatch):
    monkeypatch.setattr(app, "_PATIENCE", 0.01)
    holding, decode = [], app.decode_picture

    def large(*arguments):  # another photo arrives while this one is in work
        if not holding:
            holding.append(post(client, "/photo", photo=png(np.zeros((1500, 2000, 3), np.uint8))))
        return decode(*arguments)

    monkeypatch.setattr(app, "decode_picture", large)
    first = post(client, "/photo", photo=png(np.zeros((1500, 2000, 3), np.uint8)))
    assert first.status_code == 200
    (second,) = holding
    assert second.status_code == 503
    assert second.headers["Retry-After"] == "60"
    assert "try again" in second.get_json()["error"]


def test_an_alpha_channel_is_offered_as_mask(client):
    answer = post(client, "/photo", photo=png(np.dstack([IMAGE, MASK]))).get_json()
    np.testing.assert_array_equal(picture(answer["alpha_mask"]), MASK)
    opaque = np.dstack([IMAGE, np.full_like(MASK, 255)])
    assert post(client, "/photo", photo=png(opaque)).get_json()["alpha_mask"] is None


def test_the_preview_is_the_result(client, harmonizer):
    answer = post(client, "/harmonize", photo=png(IMAGE), mask=png(MASK)).get_json()
    result, blend_mask = harmonize_picture(harmonizer, Picture(IMAGE), MASK)
    preview = encode_picture(result, ".jpg")
    np.testing.assert_array_equal(picture(answer["preview"]), decode_picture(preview, "").pixels)
    shown = picture(answer["blend_mask"])
    assert shown.shape == (60, 80)
    assert abs(shown.mean() / 255 - blend_mask.mean()) < 0.01


@pytest.mark.parametrize(
    ("name", "stem", "ending"),
    [
        ("Köln 東京.jpeg", "Köln 東京", ".png"),
        ("../../etc/passwd", "passwd", ".jpg"),
        ("a\tb\u200e.png", "ab", ".webp"),
        ("...", "photo", ".tif"),
    ],
)
def test_a_download_is_the_result_under_the_photos_name(
    client, harmonizer, name, stem, ending, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    photo = FileStorage(io.BytesIO(png(IMAGE)), name)
    fields = {"photo": photo, "mask": png(MASK), "strength": "0.7", "ending": ending}
    answer = post(client, "/download", **fields)
    header = parse_options_header(answer.headers["Content-Disposition"])
    assert header[1]["filename"] == f"{stem}_harmonized{ending}"
    result, _ = harmonize_picture(harmonizer, Picture(IMAGE), MASK, 0.7)
    assert answer.data == encode_picture(result, ending)
    assert not list(tmp_path.iterdir())  # the server keeps nothing


def test_a_mask_is_shown_at_the_previews_size_with_a_remark(client):
    red = np.zeros((60, 80, 3), np.uint8)
    red[MASK > 0] = (128, 0, 0)
    answer = post(client, "/mask", mask=png(red), width="40", height="30").get_json()
    np.testing.assert_array_equal(picture(answer["mask"]), MASK[::2, ::2])
    assert (answer["width"], answer["height"]) == (80, 60)  # its own, which the page compares
    assert answer["remark"] is None
    red[:5, :5] = (0, 128, 0)
    answer = post(client, "/mask", mask=png(red), width="80", height="60").get_json()
    assert "2 values" in answer["remark"]


def test_a_cutout_is_shown_where_it_is_not_transparent(client):
    cutout = np.dstack([IMAGE, MASK])
    answer = post(client, "/cutout", cutout=png(cutout)).get_json()
    assert [answer[key] for key in ("left", "top", "width", "height")] == [20, 20, 30, 20]
    np.testing.assert_array_equal(picture(answer["preview"]), cutout[20:40, 20:50])


def test_a_pasted_download_is_the_python_apis_result(client, harmonizer):
    cutout, ground = np.dstack([IMAGE, MASK]), np.ascontiguousarray(IMAGE[::-1, ::-1])
    fields = {"photo": png(ground), "cutout": png(cutout), "at": "-5,12", "scale": "0.75"}
    answer = post(client, "/download", **fields, strength="0.7", ending=".png")
    expected = harmonizer.paste(cutout, ground, at=(-5, 12), scale=0.75, strength=0.7)
    np.testing.assert_array_equal(decode_picture(answer.data, "").pixels, expected)
    assert post(client, "/harmonize", **fields).status_code == 200
    for change, message in (
        ({"at": "5"}, "expected X,Y"),
        ({"scale": "0"}, "scale 0.0"),
        ({"at": "500,0"}, "outside of the background"),
        ({"cutout": png(IMAGE)}, "no alpha channel"),
    ):
        refused = post(client, "/harmonize", **(fields | change))
        assert refused.status_code == 400
        assert message in refused.get_json()["error"]


def test_inverted_and_alpha_masks(client):
    fields = {"photo": png(IMAGE), "strength": "1", "ending": ".png"}
    expected = post(client, "/download", **fields, mask=png(MASK)).data
    inverted = post(client, "/download", **fields, mask=png(255 - MASK), invert="true").data
    assert inverted == expected
    fields["photo"] = png(np.dstack([IMAGE, MASK]))
    assert post(client, "/download", **fields).data == expected


@pytest.mark.parametrize(
    ("path", "fields", "message"),
    [
        ("/photo", {}, "photo: the file is empty"),
        ("/photo", {"photo": b""}, "photo.png: the file is empty"),
        ("/photo", {"photo": b"text"}, "photo.png: not a picture"),
        ("/photo", {"photo": png(IMAGE)[:-60]}, "photo.png: damaged PNG"),
        ("/photo", {"photo": png(np.zeros((2500, 2500, 3), np.uint8))}, "5 megapixels"),
        ("/mask", {"mask": b"text", "width": "4", "height": "4"}, "mask.png: not a picture"),
        ("/mask", {"mask": png(IMAGE), "width": "80", "height": "60"}, "4,800 colours"),
        ("/mask", {"mask": png(MASK), "width": "60", "height": "80"}, "90 degrees"),
        ("/harmonize", {"photo": png(IMAGE)}, "no mask"),
        ("/harmonize", {"photo": png(IMAGE), "mask": png(MASK * 0)}, "no foreground"),
        ("/harmonize", {"photo": png(IMAGE), "mask": png(MASK | 255)}, "no background"),
        ("/harmonize", {"photo": png(IMAGE[:1, :1]), "mask": png(MASK)}, "1 x 1 pixels"),
        (
            "/download",
            {"photo": png(IMAGE), "mask": png(MASK), "strength": "7", "ending": ".png"},
            "strength 7.0",
        ),
        (
            "/download",
            {"photo": png(IMAGE), "mask": png(MASK), "strength": "1", "ending": ".exe"},
            "format '.exe'",
        ),
    ],
)
def test_bad_input_is_one_clear_line(client, path, fields, message):
    answer = post(client, path, **fields)
    assert answer.status_code == 400
    assert message in answer.get_json()["error"]
    assert "\n" not in answer.get_json()["error"]


def test_uploads_too_large(client):
    answer = post(client, "/photo", photo=b"x" * 3_000_000)
    assert answer.status_code == 413
    assert "the upload is larger than 1 MB" in answer.get_json()["error"]
    answer = post(client, "/photo", photo=b"x" * 1_500_000)  # both files together may have 2 MB
    assert answer.status_code == 400
    assert "photo.png is larger than 1 MB" in answer.get_json()["error"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Host": "evil.example"}, 400),
        ({"Host": "localhost:8765"}, 200),
    ],
)
def test_other_sites_cannot_have_work_done(client, headers, status):
    photo = FileStorage(io.BytesIO(png(IMAGE)), "photo.png")
    answer = client.post("/photo", data={"photo": photo}, headers=headers)
    assert answer.status_code == status
