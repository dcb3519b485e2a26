import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage import data

from harmony_jax.photos.color_transform import _solve, apply_color_transform, fit_color_transform

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


def test_an_affine_change_is_found_and_applied_to_another_size(composite):
    matrix = np.array([[0.7, 0.1, 0.0], [-0.05, 0.8, 0.1], [0.0, 0.2, 0.6]], np.float32)
    prediction = composite @ matrix.T + np.array([20, 5, 30], np.float32)
    coefficients = fit(composite, prediction, np.ones((SIDE, SIDE), np.float32))
    photo = np.random.default_rng(1).integers(60, 180, (150, 210, 3)).astype(np.uint8)
    expected = photo @ matrix.T + np.array([20, 5, 30], np.float32)
    # Colours far from those seen nearby: the ridge pulls slopes towards no change.
    np.testing.assert_allclose(changed(coefficients, photo), expected, atol=4)


def test_a_prediction_equal_to_the_composite_changes_nothing(composite):
    coefficients = fit(composite, composite, disc(SIDE))
    photo = np.random.default_rng(2).integers(0, 256, (90, 70, 3)).astype(np.uint8)
    np.testing.assert_array_equal(changed(coefficients, photo), photo)


def test_each_region_has_its_own_change():
    composite = np.full((SIDE, SIDE, 3), 100, np.float32)
    prediction = composite.copy()
    prediction[:, : SIDE // 2] += 40
    prediction[:, SIDE // 2 :] -= 30
    coefficients = fit(composite, prediction, np.ones((SIDE, SIDE), np.float32))
    result = changed(coefficients, np.full((SIDE, SIDE, 3), 100, np.uint8))
    np.testing.assert_allclose(result[:, : SIDE // 2 - 2], 140, atol=2)
    np.testing.assert_allclose(result[:, SIDE // 2 + 2 :], 70, atol=2)


def test_what_the_background_does_has_no_influence(composite):
    mask = disc(SIDE)
    prediction = composite + 25
    noise = np.random.default_rng(3).normal(0, 60, composite.shape)
    disturbed = np.where(mask[..., None] > 0, prediction, prediction + noise).astype(np.float32)
    np.testing.assert_allclose(fit(composite, disturbed, mask), fit(composite, prediction, mask))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pixels_of_mask_0_stay_as_they_are(composite, dtype):
    photo = np.random.default_rng(4).integers(0, np.iinfo(dtype).max + 1, (SIDE, SIDE, 3))
    photo = photo.astype(dtype)
    mask = disc(SIDE) * np.float32(0.4)
    result = changed(fit(composite, composite + 30, disc(SIDE)), photo, mask)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result[mask == 0], photo[mask == 0])
    room = (mask > 0)[..., None] & (photo < np.iinfo(dtype).max * 0.8)
    change = (result.astype(np.float32) - photo)[room] / np.iinfo(dtype).max * 255
    np.testing.assert_allclose(change, 0.4 * 30, atol=0.6)


def test_coefficients_are_enlarged_bilinearly_and_tiles_join():
    rng = np.random.default_rng(5)
    coefficients = rng.normal(0, 0.2, (12, 10, 14)).astype(np.float32)
    photo = rng.integers(0, 256, (75, 40, 3)).astype(np.uint8)
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
def test_a_real_photo_comes_closer_than_by_enlarging_the_prediction(name):
    """The true 256-pixel picture as prediction; at least 5 dB of PSNR inside the mask."""
    real = photo_of(name)
    mask = disc(max(real.shape[:2]))[: real.shape[0], : real.shape[1]][..., None]
    tone = 255 * (real / 255) ** 1.5 * np.array([0.9, 0.75, 0.6]) + np.array([10, 20, 40])
    composite = np.where(mask > 0, np.rint(tone), real).astype(np.uint8)
    enlarged = cv2.resize(small(real), real.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    coefficients = fit(small(composite), small(real), small(mask))
    ours = changed(coefficients, composite, mask[..., 0])

    def psnr(result):
        error = np.square(result.astype(np.float32) - real)[mask[..., 0] > 0].mean()
        return 10 * np.log10(255**2 / error)

    assert psnr(ours) > psnr(enlarged) + 5
    assert psnr(ours) > psnr(composite) + 5


@pytest.mark.parametrize("variance", [0.01, 0.1, 0.25])
def test_grey_pictures_are_solved_as_well_as_coloured_ones(variance):
    """Their three channels vary together: only the ridge tells the channels apart."""
    matrix = np.full((3, 3), variance) + 1e-4 * np.eye(3)
    right = np.float32(variance * np.array([-0.4, -0.4, -0.4]))
    entries = {
        (i, j): jnp.full((1, 1), matrix[i, j], jnp.float32) for i in range(3) for j in range(i, 3)
    }
    found = np.asarray(_solve(entries, jnp.asarray(right)[:, None, None])).ravel()
    np.testing.assert_allclose(found, np.linalg.solve(matrix, right), rtol=0.01)
