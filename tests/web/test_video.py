"""The routes of the page for clips, without a browser."""

import re

import av
import numpy as np
import pytest
from PIL import Image

from harmony_jax.web.app import create_app
from tests.video.made import (
    BRIGHTER,
    Kind,
    Painted,
    circle,
    decoded,
    frame_of,
    mask_clip,
    rgb_in,
    write_clip,
)
from tests.web.made import picture, post

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
    text = folder / "text.mp4"
    text.write_bytes(b"no clip")
    large = write_clip(folder / "large.mkv", [av.VideoFrame(320, 200, "yuv420p")])
    wide = folder / "wide.png"
    Image.fromarray(circle(size=(200, 320))).save(wide)
    return dict(clip=clip, mask=mask, short=short, text=text, large=large, wide=wide)


def test_some_frames_are_shown(client, files):
    answer = post(client, "/video/preview", clip=files["clip"], mask=files["short"]).get_json()
    assert answer["count"] == 7
    (remark,) = answer["remarks"]
    assert "ends after 7 frames" in remark
    assert "/" not in remark
    answer = post(client, "/video/preview", clip=files["clip"], mask=files["mask"]).get_json()
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


def test_the_whole_clip_is_downloaded(client, files, tmp_path):
    fields = {"strength": "0.5", "ending": ".mkv"}
    answer = post(client, "/video/download", clip=files["clip"], mask=files["mask"], **fields)
    assert answer.status_code == 200
    assert "K%C3%B6ln_harmonized.mkv" in answer.headers["Content-Disposition"]
    (tmp_path / "o.mkv").write_bytes(answer.data)
    frames = decoded(tmp_path / "o.mkv")
    assert len(frames) == COUNT
    change = (rgb_in(frames[3]) - rgb_in(decoded(files["clip"])[3]))[circle(3) == 255].mean(0)
    assert np.abs(change - BRIGHTER[3::4] / 2).max() < 3


@pytest.mark.parametrize(
    ("path", "change", "message"),
    [
        ("preview", {"clip": "text"}, "text.mp4: cannot be read as a video"),
        ("preview", {"mask": None}, "no mask"),
        ("preview", {"clip": "large", "mask": "wide"}, "320 x 200 pixels: .*0.05"),
        ("download", {"clip": "large", "mask": "wide"}, "320 x 200 pixels: .*0.05"),
        ("download", {"ending": ".gif"}, "format '.gif'"),
        ("download", {"strength": "3"}, "strength 3"),
    ],
)
def test_refused_requests(client, files, path, change, message):
    fields = {"clip": "clip", "mask": "mask", "strength": "1", "ending": ".mp4"} | change
    fields = {name: files.get(value, value) for name, value in fields.items() if value is not None}
    answer = post(client, f"/video/{path}", **fields)
    assert answer.status_code == 400
    assert re.search(message, answer.get_json()["error"])
    assert str(files["clip"].parent) not in answer.get_json()["error"]
