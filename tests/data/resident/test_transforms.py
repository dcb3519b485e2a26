from functools import partial

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import ks_2samp

from harmony_jax.data import transforms
from harmony_jax.data.batching import Augmentation
from harmony_jax.data.resident import transforms as device_transforms
from harmony_jax.data.resident.store import stored_pixels
from harmony_jax.data.resident.transforms import DRAWS_A_CROP, Crop, draw_crop, random_crops
from harmony_jax.data.transforms import RandomCropAndFlip, random_crop

DRAWS = 4000

mask_sums = jax.jit(device_transforms.mask_sums, static_argnums=3)


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Kolmogorov and Smirnov's, of two samples of one length, over its 0.1 % critical value."""
    return ks_2samp(first, second, method="asymp").statistic / (1.95 * np.sqrt(2 / DRAWS))


@partial(jax.jit, static_argnums=1)
def drawn(size: jax.Array, count: int) -> Crop:
    draws = jax.random.uniform(jax.random.key(0), (count, DRAWS_A_CROP))
    return random_crops(draws, size)


@partial(jax.jit, static_argnums=4)
def cut_out(pixels, sizes, crops, flips, image_size):
    """The resized crops of stored pixels, [batch, image_size, image_size, channels]."""
    stored = pixels.shape[-1]
    positions = device_transforms.sampling_positions(sizes, crops, flips, stored, image_size)
    return jnp.moveaxis(device_transforms.resample(pixels, *positions), 1, -1)


def assert_same_distribution(found: Crop, expected: list, size: tuple[int, int]) -> None:
    """Of area, aspect and place; of the place also relative to the room that the crop leaves."""
    crops = np.concatenate([np.asarray(found.start), np.asarray(found.length)], axis=1)

    def described(top, left, height, width):
        rooms = np.maximum(size[0] - height, 1), np.maximum(size[1] - width, 1)
        return height * width, width / height, top, left, top / rooms[0], left / rooms[1]

    for one, other in zip(described(*crops.T), described(*np.array(expected).T), strict=True):
        assert distance(one, other) < 1


# A square, usual photos, and one so long that many draws do not fit.
@pytest.mark.parametrize("size", [(80, 80), (300, 400), (640, 427), (100, 190)])
def test_crops_are_distributed_as_those_of_the_streamed_augmentation(size):
    found = drawn(jnp.array(size), DRAWS)
    rng = np.random.default_rng(0)
    assert_same_distribution(found, [random_crop(*size, rng=rng) for _ in range(DRAWS)], size)
    assert (np.asarray(found.start) >= 0).all()
    assert (np.asarray(found.start + found.length) <= size).all()


@pytest.mark.parametrize("size", [(100, 1000), (1000, 100)])
def test_a_crop_that_never_fits_falls_back_to_the_centre(size):
    found = np.concatenate(drawn(jnp.array(size), 3), axis=1)
    expected = random_crop(*size, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(found, [expected] * 3)


@pytest.mark.parametrize("foreground", [6, 0])
def test_crops_are_drawn_again_like_the_streamed_ones(foreground, monkeypatch):
    """A foreground in the corner, which most crops lose, and none at all."""
    size, draws = (40, 60), []
    mask = np.zeros(size, np.uint8)
    mask[:foreground, :foreground] = 255
    sample = {"composite": mask, "real": mask, "mask": mask}

    def recorded(*args, **kwargs):
        draws.append(random_crop(*args, **kwargs))
        return draws[-1]

    monkeypatch.setattr(transforms, "random_crop", recorded)
    expected, augment = [], RandomCropAndFlip(Augmentation(32))
    for seed in range(DRAWS):
        rng = np.random.default_rng(seed)
        if foreground:
            augment.random_map(sample, rng)
            expected.append(draws[-1])
        else:  # which crop is kept does not depend on where it lies
            expected.append(random_crop(*size, rng=rng))
    stored = np.zeros((64, 64), np.uint8)
    stored[: size[0], : size[1]] = mask
    draw = jax.jit(jax.vmap(partial(draw_crop, image_size=32), in_axes=(None, None, 0)))
    found, flips = draw(stored, jnp.array(size), jax.random.split(jax.random.key(0), DRAWS))
    assert_same_distribution(found, expected, size)
    assert 0.47 < flips.mean() < 0.53
    if foreground:
        lost = np.asarray(found.start >= foreground).any(axis=1).mean()
        lost_then = (np.array(expected)[:, :2] >= foreground).any(axis=1).mean()
        assert 0.05 < lost < 0.15
        assert abs(lost - lost_then) < 0.02


def photo(size: tuple[int, int], channels: int = 7) -> np.ndarray:
    return np.random.default_rng(size).integers(0, 256, (*size, channels)).astype(np.uint8)


def in_square(pixels: np.ndarray, side: int) -> np.ndarray:
    square = np.full((pixels.shape[2], side, side), 77, np.uint8)  # must not be seen
    square[:, : pixels.shape[0], : pixels.shape[1]] = np.moveaxis(pixels, -1, 0)
    return square


SIZES = [(64, 64), (47, 60), (60, 35), (30, 33)]
# Top, left, height, width.
CROPS = [(3, 5, 50, 59), (0, 7, 47, 40), (10, 0, 40, 35), (5, 1, 25, 30)]


@pytest.mark.parametrize("image_size", [16, 48, 100])
def test_a_crop_is_resized_as_opencv_resizes_an_array_of_it(image_size):
    photos, flips = [photo(size) for size in SIZES], jnp.array([False, True, False, True])
    crops = np.array(CROPS)
    crops = Crop(jnp.asarray(crops[:, :2]), jnp.asarray(crops[:, 2:]))
    stored = jnp.asarray([in_square(pixels, 64) for pixels in photos])
    found = cut_out(stored, jnp.array(SIZES), crops, flips, image_size)
    for pixels, crop, flip, result in zip(photos, CROPS, flips, found, strict=True):
        top, left, height, width = crop
        window = np.ascontiguousarray(pixels[top : top + height, left : left + width])
        expected = cv2.resize(window, (image_size, image_size), interpolation=cv2.INTER_LINEAR)
        expected = expected[:, ::-1] if flip else expected
        assert np.abs(np.asarray(result).astype(int) - expected).max() <= 1


def test_matrix_products_give_what_gathers_give():
    """The form for TPUs, which no CPU runs by itself."""
    rng = np.random.default_rng(0)
    pixels = jnp.asarray(rng.integers(0, 256, (2, 3, 20, 20)), jnp.uint8)
    rows, columns = (jnp.asarray(rng.uniform(0, 19, (2, 30)), jnp.float32) for _ in range(2))
    gathered = device_transforms._by_gathering(pixels, rows, columns)
    multiplied = device_transforms._by_products(pixels, rows, columns)
    np.testing.assert_allclose(multiplied, gathered, atol=1e-3)


@pytest.mark.parametrize("image_size", [16, 48])
@pytest.mark.parametrize("size", SIZES)
def test_mask_sums_are_those_of_the_resized_mask(size, image_size):
    mask = photo(size, 1)
    crops = drawn(jnp.array(size), 40)
    found = mask_sums(jnp.asarray(in_square(mask, 64)[0]), jnp.array(size), crops, image_size)
    for (top, left), (height, width), total in zip(*crops, found, strict=True):
        window = mask[top : top + height, left : left + width, 0].astype(np.float32)
        expected = cv2.resize(window, (image_size, image_size), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(total, expected.sum() / 255, rtol=1e-4)


def test_a_crop_of_a_shrunk_photo_shows_the_same_region():
    """Grey levels that tell the place, stored at a third of the size and less."""
    size, (top, left, height, width), image_size = (150, 240), (31, 60, 100, 132), 40
    y, x = np.mgrid[: size[0], : size[1]]
    place = np.stack([y, x, x], -1).astype(np.uint8)
    sample = [place, place, place[..., 0]]
    crops = Crop(jnp.array([[top, left]]), jnp.array([[height, width]]))
    stored = jnp.asarray(stored_pixels(sample, 50))[None]
    found = cut_out(stored, jnp.array([size]), crops, jnp.array([False]), image_size)[0]
    window = np.ascontiguousarray(place[top : top + height, left : left + width])
    expected = cv2.resize(window, (image_size, image_size), interpolation=cv2.INTER_LINEAR)
    assert np.abs(np.asarray(found)[..., :3].astype(int) - expected).max() <= 1
