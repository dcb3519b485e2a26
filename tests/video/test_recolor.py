"""Frames recoloured in their own planes, against the same in floating-point RGB."""

import cv2
import numpy as np
import pytest

from harmony_jax.video.pixels import planes_of
from harmony_jax.video.recolor import recolor
from tests.video.made import HEIGHT, WIDTH, circle, frame_of, planes_in, random_planes, touched

RNG = np.random.default_rng(0)


def transform(rng: np.random.Generator, grid: int = 16) -> np.ndarray:
    """A transform that changes over the picture."""
    result = rng.normal(0, 0.1, (12, grid, grid)).astype(np.float32)
    result[3::4] = rng.normal(0, 10, (3, grid, grid))
    return result


@pytest.mark.parametrize("bits", [8, 10, 16])
@pytest.mark.parametrize("is_full", [False, True])
def test_yuv444_as_rgb_would_be(bits, is_full):
    """By the textbook's matrix of BT.709, and the transform's definition."""
    name = {8: "yuv444p", 10: "yuv444p10le", 16: "yuv444p16le"}[bits]
    planes = random_planes(name, RNG)
    frame = frame_of(planes, name)
    frame.colorspace, frame.color_range = 1, 2 if is_full else 1
    mask, coefficients = circle(), transform(RNG)
    recolor(planes_of(frame), coefficients, mask)
    unit, full = 2 ** (bits - 8), 2**bits - 1
    luma, chroma, black = (full, full, 0) if is_full else (219 * unit, 224 * unit, 16 * unit)
    y = (planes[0] - float(black)) / luma
    u, v = ((plane - 128.0 * unit) / chroma for plane in planes[1:])
    rgb = 255 * np.stack([y + 1.5748 * v, y - 0.18732 * u - 0.46812 * v, y + 1.8556 * u], -1)
    functions = cv2.resize(coefficients.transpose(1, 2, 0), (WIDTH, HEIGHT)).reshape(
        HEIGHT, WIDTH, 3, 4
    )
    change = np.einsum("yxkj,yxj->yxk", functions[..., :3], rgb) + functions[..., 3]
    outside_shadows = np.clip(rgb.mean(-1, keepdims=True) / (0.2 * 255), 0, 1)
    change *= outside_shadows * mask[..., None] / 255 / 255
    y_change = change @ [0.2126, 0.7152, 0.0722]
    expected = [
        planes[0] + luma * y_change,
        planes[1] + chroma * (change[..., 2] - y_change) / 1.8556,
        planes[2] + chroma * (change[..., 0] - y_change) / 1.5748,
    ]
    for got, want in zip(planes_in(frame), expected, strict=True):
        assert np.abs(got - np.clip(want, 0, full)).max() < 0.51 + 5e-5 * full


@pytest.mark.parametrize("size", [(64, 96), (63, 95), (300, 50), (2, 6)])
@pytest.mark.parametrize("name", ["yuv420p", "yuv422p", "yuv420p10le", "yuv410p", "yuv440p"])
def test_only_what_the_mask_touches_changes(name, size):
    planes = random_planes(name, RNG, size)
    frame = frame_of(planes, name)
    mask = circle(size=size)
    recolor(planes_of(frame), transform(RNG), mask)
    got = planes_in(frame)
    for before, after in zip(planes, got, strict=True):
        inside = touched(mask, before.shape)
        np.testing.assert_array_equal(after[~inside], before[~inside])
        if size != (2, 6):
            assert (after != before)[inside].mean() > 0.5


@pytest.mark.parametrize("size", [(64, 96), (63, 95), (300, 50)])
def test_chroma_of_fewer_pixels_as_whole_chroma_would_be(size):
    """Of smooth planes, on which neither way of resizing matters."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    luma = (90 + 60 * np.sin(rows / 40) * np.cos(columns / 40)).astype(np.float32)
    whole = [luma, 110 + luma / 5, 140 - luma / 4]
    small = [plane[::2, ::2] for plane in whole[1:]]
    coefficients = np.repeat(transform(RNG, 1), 16, 1).repeat(16, 2)
    mask = np.full(size, 255, np.uint8)
    frames = []
    for name, planes in (("yuv444p", whole), ("yuv420p", [luma, *small])):
        frame = frame_of([np.rint(plane).astype(np.uint8) for plane in planes], name)
        recolor(planes_of(frame), coefficients, mask)
        frames.append([plane.astype(int) for plane in planes_in(frame)])
    assert np.abs(frames[0][0] - frames[1][0]).max() <= 2
    for k in (1, 2):
        assert np.abs(frames[0][k][::2, ::2] - frames[1][k]).max() <= 2


def test_strength_and_interlaced_rows():
    planes = random_planes("yuv420p", RNG)
    coefficients, mask = transform(RNG), circle()
    frame = frame_of(planes, "yuv420p")
    recolor(planes_of(frame), coefficients, mask, strength=0.0)
    for after, before in zip(planes_in(frame), planes, strict=True):
        np.testing.assert_array_equal(after, before)
    # A field by itself is a picture of half the height.
    recolor(planes_of(frame), coefficients, mask, interlaced=True)
    for field in (0, 1):
        alone = frame_of([plane[field::2] for plane in planes], "yuv420p")
        recolor(planes_of(alone), coefficients, mask[field::2])
        for plane, expected in zip(planes_in(frame), planes_in(alone), strict=True):
            np.testing.assert_array_equal(plane[field::2], expected)


@pytest.mark.parametrize("name", ["gbrp", "gbrap", "gbrp10le", "gbrap16le", "gray"])
def test_formats_of_rgb_and_grey(name):
    """Another change of each channel, so that none may be taken for another."""
    planes = random_planes(name, RNG)
    frame = frame_of(planes, name)
    added = np.array([30, 10, -20] if name != "gray" else [20, 20, 20])
    coefficients = np.zeros((12, 16, 16), np.float32)
    coefficients[3::4] = added[:, None, None]
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[10:30, 20:50] = 255
    before = [plane.astype(int) for plane in planes_of(frame).color]
    recolor(planes_of(frame), coefficients, mask)
    after = planes_of(frame)
    full = after.meaning.full
    for k, plane in enumerate(after.color):
        expected = before[k] + np.rint(added[k] * full / 255 * (mask / 255)).astype(int)
        assert np.abs(plane - expected).max() <= (0 if full == 255 else 1)
    if after.alpha is not None:
        np.testing.assert_array_equal(after.alpha, planes[3])
