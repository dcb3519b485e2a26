import cv2
import numpy as np
import pytest

from harmony_jax.data import transforms
from harmony_jax.data.batching import Augmentation
from harmony_jax.data.resizing import resize
from harmony_jax.data.transforms import RandomCropAndFlip, random_crop


def ramp_sample(height: int = 90, width: int = 120) -> dict:
    """Pixel values tell where they came from, in all three pictures alike."""
    y, x = np.mgrid[:height, :width]
    place = np.stack([x * 2, y * 2, np.zeros_like(x)], -1).astype(np.uint8)
    mask = np.full((height, width), 255, np.uint8)
    return {"composite": place, "real": place.copy(), "mask": mask}


def test_crops_have_the_released_area_and_aspect():
    rng = np.random.default_rng(0)
    crops = np.array([random_crop(300, 400, rng=rng) for _ in range(2000)])
    top, left, height, width = crops.T
    assert min(top.min(), left.min()) == 0
    assert (top + height).max() <= 300
    assert (left + width).max() <= 400
    area, aspect = height * width / (300 * 400), width / height
    assert 0.49 < area.min() < 0.52 < 0.98 < area.max() <= 1.0
    assert 0.74 < aspect.min() < 0.76 < 1.31 < aspect.max() < 1.35


def test_a_crop_that_never_fits_falls_back_to_the_centre():
    assert random_crop(100, 1000, rng=np.random.default_rng(0)) == (0, 433, 100, 133)


def test_all_three_pictures_get_the_same_crop_and_flip_and_the_network_size():
    augment = RandomCropAndFlip(Augmentation(32))
    flips = 0
    for seed in range(40):
        out = augment.random_map(ramp_sample(), np.random.default_rng(seed))
        assert out["composite"].shape == (32, 32, 3)
        assert out["mask"].shape == (32, 32)
        assert {out[key].dtype for key in out} == {np.dtype("uint8")}
        np.testing.assert_array_equal(out["composite"], out["real"])
        flips += int(out["composite"][0, 0, 0] > out["composite"][0, -1, 0])
    assert 10 < flips < 30


def test_one_resampling_of_the_crop_without_antialiasing():
    sample = ramp_sample()
    seed = 0
    out = RandomCropAndFlip(Augmentation(32)).random_map(sample, np.random.default_rng(seed))
    rng = np.random.default_rng(seed)
    top, left, height, width = random_crop(90, 120, rng=rng)
    rng.random()  # the draw of the redraw rule
    window = sample["real"][top : top + height, left : left + width]
    expected = cv2.resize(window, (32, 32), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.5:
        expected = expected[:, ::-1]
    np.testing.assert_array_equal(out["real"], expected)


@pytest.mark.parametrize("flip", [True, False])
def test_without_crops_the_whole_picture_is_resized(flip):
    augment, sample = RandomCropAndFlip(Augmentation(32, crop=False, flip=flip)), ramp_sample()
    whole = {key: resize(pixels, 32) for key, pixels in sample.items()}
    flips = 0
    for seed in range(40):
        out = augment.random_map(sample, np.random.default_rng(seed))
        flipped = bool(out["real"][0, 0, 0] > out["real"][0, -1, 0])
        for key, pixels in out.items():
            np.testing.assert_array_equal(pixels, whole[key][:, ::-1] if flipped else whole[key])
        flips += flipped
    assert (10 < flips < 30) if flip else flips == 0


def test_without_flips_the_crops_are_the_same():
    augments = [RandomCropAndFlip(Augmentation(32, flip=flip)) for flip in (True, False)]
    for seed in range(20):
        flipping, other = (
            augment.random_map(ramp_sample(), np.random.default_rng(seed))["real"]
            for augment in augments
        )
        assert other[0, 0, 0] < other[0, -1, 0]
        assert any(np.array_equal(flipping[:, ::step], other) for step in (1, -1))


@pytest.mark.parametrize(("mask", "fewest", "most"), [(0, 17, 23), (255, 1, 1)])
def test_crops_that_lost_the_foreground_are_redrawn_but_for_one_in_twenty(
    mask, fewest, most, monkeypatch
):
    """Where no crop holds foreground, the number of draws is geometric with mean 20."""
    draws = []
    monkeypatch.setattr(
        transforms, "random_crop", lambda *size, rng: draws.append(1) or random_crop(*size, rng=rng)
    )
    sample = ramp_sample(20, 20)
    sample["mask"][:] = mask
    augment = RandomCropAndFlip(Augmentation(8))
    for seed in range(400):
        augment.random_map(sample, np.random.default_rng(seed))
    assert fewest <= len(draws) / 400 <= most
