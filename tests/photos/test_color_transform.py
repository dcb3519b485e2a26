import cv2
import jax
import numpy as np
import pytest
from skimage import data

from harmony_jax.photos.color_transform import apply_color_transform, fit_color_transform

SIDE = 64

fit = jax.jit(fit_color_transform)
apply = jax.jit(apply_color_transform)


def changed(coefficients, photo, mask=None):
    mask = np.ones(photo.shape[:2], np.float32) if mask is None else mask
    size = np.array(photo.shape[:2], np.float32)
    return np.asarray(apply(coefficients, photo, mask, np.zeros(2, np.float32), size))


def photo_of(name: str) -> np.ndarray:
    return getattr(data, name)()


def small(pixels: np.ndarray, side: int = 256) -> np.ndarray:
    return cv2.resize(pixels, (side, side), interpolation=cv2.INTER_LINEAR)


def disc(side: int, radius: float = 0.3) -> np.ndarray:
    y, x = (np.mgrid[:side, :side] + 0.5) / side - 0.5
    return (np.hypot(y, x) < radius).astype(np.float32)


@pytest.fixture(scope="module")
def composite():
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3))
    return cv2.GaussianBlur(noise.astype(np.float32), (0, 0), 1) * 1.5 - 64


def test_a_strong_affine_change_is_found_and_applied_to_another_size(composite):
    matrix = np.array([[0.5, 0.1, 0.0], [-0.05, 0.6, 0.1], [0.0, 0.2, 0.4]], np.float32)
    offset = np.array([60, 15, 70], np.float32)
    coefficients = fit(composite, composite @ matrix.T + offset, np.ones((SIDE, SIDE), np.float32))
    photo = np.random.default_rng(1).integers(60, 180, (150, 210, 3)).astype(np.uint8)
    expected = photo @ matrix.T + offset
    result = changed(coefficients, photo)
    # The pull towards no change holds the slopes more than the mean.
    np.testing.assert_allclose(result.mean((0, 1)), expected.mean((0, 1)), atol=8)
    assert np.abs(result - expected).mean() < 0.6 * np.abs(photo - expected).mean()


def test_black_stays_black(composite):
    """However strongly the network brightens, as it does to objects on white fog."""
    coefficients = fit(composite, 0.3 * composite + 150, np.ones((SIDE, SIDE), np.float32))
    photo = np.arange(256, dtype=np.uint8)[:, None, None].repeat(8, 1).repeat(3, 2)
    result = changed(coefficients, photo)[:, 0, 0].astype(int)
    assert result[0] == 0
    assert result[100] > 150
    assert (np.diff(result) >= 0).all()


def test_small_changes_are_taken_for_noise_and_large_ones_are_made(composite):
    mask = np.ones((SIDE, SIDE), np.float32)
    grey = np.full((8, 8, 3), 128, np.uint8)

    def taken(change: float) -> float:
        return (changed(fit(composite, composite + change, mask), grey) - 128.0).mean() / change

    assert 0 <= taken(3) < 0.1
    assert 0.1 < taken(10) < 0.7
    assert taken(40) > 0.75


def test_a_prediction_equal_to_the_composite_changes_nothing(composite):
    coefficients = fit(composite, composite, disc(SIDE))
    photo = np.random.default_rng(2).integers(0, 256, (90, 70, 3)).astype(np.uint8)
    np.testing.assert_array_equal(changed(coefficients, photo), photo)


def test_light_from_one_side_is_followed_in_part_and_smoothly():
    composite = np.full((SIDE, SIDE, 3), 100, np.float32)
    prediction = composite.copy()
    prediction[:, : SIDE // 2] += 60
    prediction[:, SIDE // 2 :] += 20
    coefficients = fit(composite, prediction, np.ones((SIDE, SIDE), np.float32))
    result = changed(coefficients, np.full((SIDE, SIDE, 3), 100, np.uint8))[0, :, 0].astype(int)
    assert result[0] - result[-1] > 0.6 * 40
    assert np.abs(np.diff(result)).max() < 10


def test_what_the_background_does_has_no_influence(composite):
    mask = disc(SIDE)
    prediction = composite + 45
    noise = np.random.default_rng(3).normal(0, 60, composite.shape)
    disturbed = np.where(mask[..., None] > 0, prediction, prediction + noise).astype(np.float32)
    np.testing.assert_allclose(fit(composite, disturbed, mask), fit(composite, prediction, mask))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pixels_of_weight_0_stay_as_they_are_and_others_take_their_share(composite, dtype):
    full = np.iinfo(dtype).max
    photo = np.random.default_rng(4).integers(0, full + 1, (SIDE, SIDE, 3)).astype(dtype)
    coefficients = fit(composite, composite + 60, disc(SIDE))
    whole = changed(coefficients, photo, disc(SIDE)).astype(np.float32) - photo
    part = changed(coefficients, photo, 0.4 * disc(SIDE))
    assert part.dtype == dtype
    np.testing.assert_array_equal(part[disc(SIDE) == 0], photo[disc(SIDE) == 0])
    room = (photo > 0.2 * full) & (photo < 0.7 * full)
    assert np.abs(whole[room]).max() > 0.1 * full
    np.testing.assert_allclose((part - photo.astype(np.float32))[room], 0.4 * whole[room], atol=1)


def test_coefficients_are_enlarged_bilinearly_and_tiles_join():
    rng = np.random.default_rng(5)
    coefficients = rng.normal(0, 0.2, (12, 10, 14)).astype(np.float32)
    photo = rng.integers(51, 256, (75, 40, 3)).astype(np.uint8)  # no shadows
    planes = [cv2.resize(plane, (40, 75), interpolation=cv2.INTER_LINEAR) for plane in coefficients]
    rows = np.stack(planes, -1).reshape(75, 40, 3, 4)
    expected = photo + (rows[..., :3] @ photo[..., None].astype(np.float32))[..., 0] + rows[..., 3]
    whole = changed(coefficients, photo)
    np.testing.assert_allclose(whole, np.clip(expected, 0, 255), atol=0.51)
    size = np.array([75, 40], np.float32)
    tile = apply(
        coefficients,
        photo[30:60, 10:30],
        np.ones((30, 20), np.float32),
        np.array([30, 10], np.float32),
        size,
    )
    np.testing.assert_array_equal(tile, whole[30:60, 10:30])


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
def test_most_of_a_cast_and_a_tone_curve_are_undone(name):
    """The true 256-pixel picture as prediction."""
    real = photo_of(name)
    mask = disc(max(real.shape[:2]))[: real.shape[0], : real.shape[1]][..., None]
    tone = 255 * (real / 255) ** 1.5 * np.array([0.9, 0.75, 0.6]) + np.array([10, 20, 40])
    composite = np.where(mask > 0, np.rint(tone), real).astype(np.uint8)
    result = changed(fit(small(composite), small(real), small(mask)), composite, mask[..., 0])

    def error(picture):
        return np.square(picture.astype(np.float32) - real)[mask[..., 0] > 0].mean()

    assert error(result) < 0.2 * error(composite)
