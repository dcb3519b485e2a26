"""The routes of the page for clips, without a browser."""

import io

import av
import numpy as np
import pytest
from PIL import Image
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from harmony_jax.web.app import create_app
from tests.video.made import (
    BRIGHTER,
    Kind,
    Painted,
    circle,
    decoded,
    frame_of,
    mask_clip,
    write_clip,
)
from tests.web.test_app import picture

COUNT = 20


@pytest.fixture(scope="module")
def client():
    return create_app(Painted(), max_upload_bytes=1_000_000, max_pixels=50_000).test_client()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    planes = [np.full((64, 96), value, np.uint8) for value in (110, 120, 130)]
    frames = [frame_of(planes, "yuv444p") for _ in range(COUNT)]
    kind = Kind("libx264", "yuv444p", {"crf": "4"}, colors=(1, 1, 1, 1))
    clip = write_clip(folder / "Köln.mp4", frames, kind)
    mask = mask_clip(folder / "m.mkv", [circle(n) for n in range(COUNT)])
    short = mask_clip(folder / "short.mkv", [circle(n) for n in range(7)])
    return {"clip": clip, "mask": mask, "short": short}


def post(client, path, clip, mask=None, **fields):
    form = {"clip": FileStorage(io.BytesIO(clip.read_bytes()), clip.name), **fields}
    if mask is not None:
        form["mask"] = FileStorage(io.BytesIO(mask.read_bytes()), mask.name)
    boundary, data = encode_multipart(form)
    return client.post(path, data=data, content_type=f"multipart/form-data; boundary={boundary}")


def test_the_page_comes_from_the_server_alone(client):
    page = client.get("/video")
    assert page.status_code == 200
    for name in ("video.js", "shared.js", "page.css"):
        assert f"/static/{name}" in page.text
        with client.get(f"/static/{name}") as answer:
            assert "http" not in answer.text
    assert "http" not in page.text


def test_some_frames_are_shown(client, files):
    answer = post(client, "/video/preview", files["clip"], files["mask"]).get_json()
    assert (answer["count"], answer["remarks"]) == (COUNT, [])
    numbers = [frame["number"] for frame in answer["frames"]]
    assert len(numbers) in range(3, 7)
    assert numbers == sorted(set(numbers))
    assert numbers[-1] >= COUNT * 2 // 3
    for frame in answer["frames"]:
        before, after = (picture(frame[name]).astype(int) for name in ("before", "after"))
        mask = circle(frame["number"])
        assert np.abs((after - before)[mask == 255].mean(0) - BRIGHTER[3::4]).max() < 4
        far = np.hypot(*np.indices(mask.shape)[::-1]) < 10  # JPEG reaches some pixels
        assert np.abs((after - before)[far]).max() < 4


def test_masks_that_end_early_are_told(client, files):
    answer = post(client, "/video/preview", files["clip"], files["short"]).get_json()
    assert answer["count"] == 7
    assert len(answer["remarks"]) == 1
    assert "ends after 7 frames" in answer["remarks"][0]
    assert "/" not in answer["remarks"][0]


def test_the_whole_clip_is_downloaded(client, files, tmp_path):
    fields = {"strength": "0.5", "ending": ".mkv"}
    answer = post(client, "/video/download", files["clip"], files["mask"], **fields)
    assert answer.status_code == 200
    assert "K%C3%B6ln_harmonized.mkv" in answer.headers["Content-Disposition"]
    (tmp_path / "o.mkv").write_bytes(answer.data)
    frames = decoded(tmp_path / "o.mkv")
    assert len(frames) == COUNT
    pair = [
        np.float64(frame.reformat(format="gbrp", src_colorspace="ITU709").to_ndarray())
        for frame in (decoded(files["clip"])[3], frames[3])
    ]
    change = (pair[1] - pair[0])[circle(3) == 255].mean(0)
    assert np.abs(change - BRIGHTER[3::4] / 2).max() < 3


@pytest.mark.parametrize(
    ("path", "what", "message"),
    [
        ("preview", "text", "clip.mp4: cannot be read as a video"),
        ("preview", "no mask", "no mask, and no alpha channel"),
        ("preview", "large", "frames of 320 x 200 pixels, of which 0.05 million are"),
        ("download", "ending", "format '.gif': choose one of .mp4"),
        ("download", "strength", "strength 2: expected 0 to 1"),
    ],
)
def test_what_cannot_be_is_told(client, files, tmp_path, path, what, message):
    clip, mask = files["clip"], files["mask"]
    fields = {"strength": "1", "ending": ".mp4"}
    if what == "text":
        clip = tmp_path / "clip.mp4"
        clip.write_bytes(b"no clip")
    elif what == "no mask":
        mask = None
    elif what == "large":
        rgb = np.zeros((200, 320, 3), np.uint8)
        frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format="yuv420p")
        clip, mask = write_clip(tmp_path / "l.mkv", [frame]), tmp_path / "m.png"
        Image.fromarray(circle(size=(200, 320))).save(mask)
    else:
        fields[what] = {"ending": ".gif", "strength": "2"}[what]
    answer = post(client, f"/video/{path}", clip, mask, **fields)
    assert answer.status_code == 400
    assert message in answer.get_json()["error"]
    assert str(tmp_path) not in answer.get_json()["error"]
