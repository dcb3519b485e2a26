"""What the numbers of frames mean, against FFmpeg's conversion and closed forms."""

import av
import numpy as np
import pytest

from harmony_jax.errors import InputError
from harmony_jax.video.pixels import (
    brightness_of,
    check_colors,
    planar_format,
    planes_of,
    rgb_of,
    seen_by_network,
)
from tests.video.made import frame_of, planes_in, random_planes

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("matrix", "name"), [(1, "ITU709"), (6, "ITU601"), (9, "BT2020")])
@pytest.mark.parametrize("is_full", [False, True])
def test_rgb_as_ffmpeg_converts(matrix, name, is_full):
    frame = frame_of(random_planes("yuv444p", RNG), "yuv444p")
    frame.colorspace, frame.color_range = matrix, 2 if is_full else 1
    flags = av.video.reformatter.Interpolation
    expected = frame.reformat(
        format="gbrp",
        interpolation=int(flags.POINT) | int(flags.ACCURATE_RND) | int(flags.FULL_CHR_H_INT),
        src_colorspace=name,
        src_color_range="JPEG" if is_full else "MPEG",
        dst_color_range="JPEG",
    ).to_ndarray()
    difference = np.abs(rgb_of(planes_of(frame)).astype(int) - expected)
    assert difference.max() <= 2
    assert difference.mean() < 0.6


@pytest.mark.parametrize(("height", "weight"), [(576, 0.299), (720, 0.2126)])
def test_a_matrix_that_is_not_named(height, weight):
    planes = [np.full((height, 16), 16, np.uint8), np.full((height, 16), 128, np.uint8)]
    frame = frame_of([*planes, np.full((height, 16), 200, np.uint8)], "yuv444p")
    red = 2 * (1 - weight) * (200 - 128) * 255 / 224
    assert np.abs(rgb_of(planes_of(frame))[0, 0, 0] - red).max() <= 0.5


@pytest.mark.parametrize(
    ("name", "black", "white", "neutral"),
    [
        ("yuv420p", 16, 235, 128),
        ("yuv420p10le", 64, 940, 512),
        ("yuv422p12le", 256, 3760, 2048),
        ("gray10le", 0, 1023, None),
    ],
)
def test_black_and_white_of_each_depth(name, black, white, neutral):
    planes = random_planes(name, RNG, (8, 8))
    planes[0][:, :4], planes[0][:, 4:] = black, white
    for plane in planes[1:]:
        plane[:] = neutral
    found = planes_of(frame_of(planes, name))
    pixels = rgb_of(found)
    assert (pixels[:, :4] == 0).all()
    assert (pixels[:, 4:] == np.iinfo(pixels.dtype).max).all()
    assert set(np.unique(brightness_of(found))) == {0, 255}


def test_what_the_network_sees_is_the_picture():
    rgb = np.zeros((48, 80, 3), np.uint8)
    rgb[:, :40], rgb[:, 40:] = (200, 40, 60), (20, 120, 220)
    flat = av.VideoFrame.from_ndarray(rgb, "rgb24")
    for name in ("yuv420p", "yuv444p10le", "gbrp"):
        frame = flat.reformat(format=name, dst_colorspace="ITU709", dst_color_range="MPEG")
        frame.colorspace, frame.color_range = 1, 1
        seen = seen_by_network(planes_of(frame), 16)
        for part, color in ((seen[:, :6], rgb[0, 0]), (seen[:, -6:], rgb[0, -1])):
            assert np.abs(part.astype(int) - color).max() <= 3


@pytest.mark.parametrize(
    ("packed", "planar"),
    [
        ("nv12", "yuv420p"),
        ("p010le", "yuv420p10le"),
        ("yuyv422", "yuv422p"),
        ("vuya", "yuva444p"),
        ("yuvj422p", "yuv422p"),
        ("yuv420p10be", "yuv420p10le"),
        ("gray16be", "gray16le"),
        ("rgb24", "gbrp"),
        ("bgr0", "gbrp"),
        ("argb", "gbrap"),
        ("rgb48be", "gbrp16le"),
        ("bgra64le", "gbrap16le"),
    ],
)
def test_every_format_has_a_planar_one_of_the_same_numbers(packed, planar):
    planes = random_planes(planar, RNG, (8, 16))
    frame = frame_of(planes, planar)
    frame.color_range = 2
    other = frame.reformat(format=packed, threads=1)
    assert planar_format(other.format, "clip") == planar
    for found, expected in zip(
        planes_in(other.reformat(format=planar, threads=1)), planes, strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_a_palette_becomes_rgb_with_alpha():
    assert planar_format(av.VideoFormat("pal8", 16, 16), "clip") == "gbrap"


@pytest.mark.parametrize(
    "name", ["monow", "rgb565le", "gbrpf32le", "rgbaf16le", "bayer_bggr8", "xyz12le", "ya8"]
)
def test_formats_that_are_not_taken(name):
    with pytest.raises(InputError, match=rf"clip: .*{name}"):
        planar_format(av.VideoFormat(name, 16, 16), "clip")


def test_colors_that_are_not_taken():
    frame = frame_of(random_planes("yuv420p", RNG), "yuv420p")
    check_colors(frame, "clip")
    frame.color_trc = 16
    with pytest.raises(InputError, match=r"clip: .*HDR.*PQ"):
        check_colors(frame, "clip")
    frame.color_trc, frame.colorspace = 1, 8
    with pytest.raises(InputError, match=r"clip: .*matrix number 8"):
        check_colors(frame, "clip")
