import cv2
import jax
import numpy as np
import pytest

from harmony_jax.data.composites.compose import compose_with_jax, compose_with_numpy
from harmony_jax.data.composites.parameters import (
    DRAWS,
    Parameters,
    color_matrices,
    draw_batch,
    edges,
    optimal_maps,
)
from harmony_jax.data.composites.recipe import KINDS, Recipe
from harmony_jax.data.composites.statistics import QUANTILES, object_statistics
from tests.data.composites.made_photo import RECIPE, Objects, made_photo, parameters

PHOTO, MASK = made_photo()
OTHER, OTHER_MASK = made_photo(1)
INSIDE = MASK == 255
BRIGHTER = np.full(3, 0.2)


def recoloured(kind: str, **others: object) -> np.ndarray:
    """The object's pixels in the composite, [pixels, 3]."""
    composite, mask = compose_with_numpy(PHOTO, MASK, parameters(kind, **others))
    np.testing.assert_array_equal(mask, MASK)
    np.testing.assert_array_equal(composite[~INSIDE], PHOTO[~INSIDE])
    return composite[INSIDE]


def lab(pixels: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(np.float32(pixels[None]) / 255, cv2.COLOR_RGB2LAB)[0]


def linear(pixels: np.ndarray) -> np.ndarray:
    """sRGB in [0, 255] to linear light in [0, 1] (IEC 61966-2-1)."""
    value = np.asarray(pixels, float) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("kind", KINDS)
def test_neutral_parameters_change_nothing(kind):
    assert np.abs(recoloured(kind).astype(int) - PHOTO[INSIDE]).max() <= 1


def test_reinhard_gives_mean_and_deviation_of_lab():
    source, target = lab(PHOTO[INSIDE]), lab(OTHER[OTHER_MASK == 255])
    gain = target.std(0) / source.std(0)
    found = recoloured("reinhard", lab_gain=gain, lab_offset=target.mean(0) - gain * source.mean(0))
    np.testing.assert_allclose(lab(found).mean(0), target.mean(0), atol=0.5)
    np.testing.assert_allclose(lab(found).std(0), target.std(0), atol=0.5)


def test_linear_gives_mean_and_covariance_of_rgb():
    source, target = (np.float64(x) / 255 for x in (PHOTO[INSIDE], OTHER[OTHER_MASK == 255]))
    matrix = optimal_maps(np.cov(source.T)[None], np.cov(target.T)[None])[0]
    offset = target.mean(0) - matrix @ source.mean(0)
    found = recoloured("linear", matrix=matrix, offset=offset) / 255
    np.testing.assert_allclose(found.mean(0), target.mean(0), atol=0.01)
    np.testing.assert_allclose(np.cov(found.T), np.cov(target.T), atol=1e-3)


def test_histogram_gives_the_quantiles():
    source, target = (object_statistics(*pair) for pair in ((PHOTO, MASK), (OTHER, OTHER_MASK)))
    found = recoloured("histogram", quantiles=source.quantiles, targets=target.quantiles)
    levels = np.quantile(found / 255, np.linspace(0, 1, QUANTILES), axis=0).T
    np.testing.assert_allclose(levels, target.quantiles, atol=0.02)


def test_strength_is_the_share_of_the_change():
    whole = recoloured("linear", offset=BRIGHTER).astype(float)
    half = recoloured("linear", offset=BRIGHTER, strength=0.5)
    np.testing.assert_allclose(half, (whole + PHOTO[INSIDE]) / 2, atol=1)


def test_a_stop_of_exposure_doubles_the_light():
    found = recoloured("retouch", exposure=np.array([-1, 0, -2]))
    expected = linear(PHOTO[INSIDE]) * [0.5, 1, 0.25]
    np.testing.assert_allclose(linear(found), expected, atol=0.004)


def test_contrast_stretches_around_the_pivot_and_gamma_is_the_exponent():
    photo = PHOTO[INSIDE] / 255
    found = recoloured("retouch", contrast=0.5, pivot=0.4)
    np.testing.assert_allclose(found / 255 - 0.4, 0.5 * (photo - 0.4), atol=0.003)
    found = recoloured("retouch", gamma=1.5)
    np.testing.assert_allclose(found / 255, photo**1.5, atol=0.003)


def test_without_saturation_all_is_grey_and_a_third_of_a_turn_exchanges_the_channels():
    grey = recoloured("retouch", color=color_matrices(np.zeros(1), np.zeros(1))[0])
    assert np.ptp(grey, axis=1).max() <= 1
    turned = recoloured("retouch", color=color_matrices(np.ones(1), np.array([2 * np.pi / 3]))[0])
    np.testing.assert_allclose(turned, np.roll(PHOTO[INSIDE], 1, axis=1), atol=1)


def test_light_from_the_left_darkens_the_right():
    composite, _ = compose_with_numpy(PHOTO, MASK, parameters(light=np.array([0, -0.5])))
    rows, columns = np.nonzero(INSIDE)
    centre, spread = columns.mean(), columns.std() * np.sqrt(3)
    # Of what is not cut off; light may be up to half a stop times 1.5.
    stops = -0.5 * np.clip((columns - centre) / spread, -1.5, 1.5)
    expected = np.clip(PHOTO[INSIDE] * 2 ** (stops / 2.2)[:, None], 0, 255)
    np.testing.assert_allclose(composite[rows, columns], expected, atol=1)


def test_a_soft_mask_blends():
    soft = cv2.GaussianBlur(MASK, (0, 0), 3)
    composite, mask = compose_with_numpy(PHOTO, soft, parameters("linear", offset=BRIGHTER))
    np.testing.assert_array_equal(mask, soft)
    whole = np.clip(PHOTO / 255 + 0.2, 0, 1)
    expected = 255 * (PHOTO / 255 + soft[..., None] / 255 * (whole - PHOTO / 255))
    np.testing.assert_allclose(composite, expected, atol=0.6)


def test_a_coarse_polygon_is_both_mask_and_region():
    moved = parameters("linear", offset=BRIGHTER, cells=10.5)
    composite, mask = compose_with_numpy(PHOTO, MASK, moved)
    differs = (composite != PHOTO).any(-1)
    assert not differs[mask == 0].any()
    assert differs[mask > 64].all()
    intersection = ((mask > 127) & INSIDE).sum() / ((mask > 127) | INSIDE).sum()
    assert 0.85 < intersection < 0.995  # like the object, and not the object


@pytest.mark.parametrize(("shift", "width"), [(-2.0, 1.0), (0.0, 4.0), (2.0, 1.0)])
def test_an_edge_moves_and_widens_by_pixels_and_the_region_stays(shift, width):
    edge = edges(np.array([shift]), np.array([width]))[0]
    moved = parameters("linear", offset=BRIGHTER, edge=edge)
    composite, mask = compose_with_numpy(PHOTO, MASK, moved)
    np.testing.assert_array_equal((composite != PHOTO).any(-1), INSIDE)
    radius = np.sqrt(mask.sum() / 255 / np.pi)
    assert abs(radius - np.sqrt(INSIDE.sum() / np.pi) - shift) < 0.3
    row = mask[MASK.shape[0] // 2 - 3]
    soft = ((row > 0) & (row < 255)).sum() / 2  # left and right
    assert width <= soft <= width + 2


def test_a_small_object_keeps_its_mask():
    small = np.zeros_like(MASK)
    small[10:13, 10:13] = 255
    for others in ({"cells": 10.5}, {"edge": edges(np.full(1, -3.0), np.ones(1))[0]}):
        _, mask = compose_with_numpy(PHOTO, small, parameters(**others))
        np.testing.assert_array_equal(mask, small)


def test_accelerators_make_what_workers_make():
    uniform = np.random.default_rng(0).random((24, DRAWS))
    shares = {"unchanged": 0.2, "light_share": 0.5, "polygon_share": 0.5, "edge_share": 0.5}
    recipe = Recipe(**{**RECIPE, **shares})
    drawn = draw_batch(recipe, uniform, [0] * 24, Objects([made_photo(i) for i in range(5)]))
    assert set(drawn.kind.tolist()) == set(range(len(KINDS)))
    planes = np.concatenate([np.moveaxis(PHOTO, -1, 0), MASK[None]])
    composites, masks = jax.jit(compose_with_jax)(np.stack([planes] * 24), drawn)
    for number in range(24):
        one = Parameters(*(value[number] for value in drawn))
        composite, mask = compose_with_numpy(PHOTO, MASK, one)
        found = np.moveaxis(np.asarray(composites[number]).astype(int), 0, -1)
        assert np.abs(found - composite).max() <= 1
        assert np.abs(np.asarray(masks[number]).astype(int) - mask).max() <= 1
