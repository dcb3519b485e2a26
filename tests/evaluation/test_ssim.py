import jax
import jax.numpy as jnp
import numpy as np

from harmony_jax.evaluation.ssim import ssim
from tests.evaluation.reference import ssim_of_one


def pair(shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    target = rng.uniform(0, 255, shape).astype(np.float32)
    return np.clip(target + rng.normal(0, 30, shape), 0, 255).astype(np.float32), target


def test_the_same_as_scikit_image():
    image, target = pair((2, 24, 31, 3))
    found, perfect = jax.jit(ssim)([image, target], target)
    expected = [ssim_of_one(*images) for images in zip(image, target, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert max(expected) < 0.99
    np.testing.assert_allclose(perfect, 1, rtol=1e-5)


def test_padding_does_not_count():
    image, target = pair((1, 20, 26, 3))
    padding = ((0, 0), (3, 5), (7, 1), (0, 0))
    padded = [jnp.pad(pixels, padding) for pixels in (image, target)]
    valid = jnp.pad(jnp.ones((1, 20, 26, 1)), padding)
    (found,) = ssim(padded[:1], padded[1], valid)
    np.testing.assert_allclose(found, ssim_of_one(image[0], target[0]), rtol=1e-4)


def test_smaller_than_the_window():
    image, target = (jnp.asarray(pixels) for pixels in pair((1, 10, 30, 3)))
    (found,) = ssim([image], target)
    assert np.isnan(found)[0]
