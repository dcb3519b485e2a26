import jax.numpy as jnp
import numpy as np
import pytest

from harmony_jax.losses import foreground_normalized_mse, mse


@pytest.fixture
def images():
    """Two 4x4 images whose errors are 1 and 2 in every channel of some pixels."""
    target = np.zeros((2, 4, 4, 3), np.float32)
    prediction = target.copy()
    prediction[0, :2] = 1  # 8 pixels: sum of squares 24
    prediction[1, 0, 0] = 2  # 1 pixel: 12
    mask = np.zeros((2, 4, 4, 1), np.float32)
    mask[0, :2] = 1  # area 8
    mask[1, 0, 0] = 0.5  # area 0.5
    return tuple(jnp.asarray(array) for array in (prediction, target, mask))


def test_fn_mse_divides_by_the_foreground_or_the_least_area(images):
    found = foreground_normalized_mse(*images, min_area=2.0)
    np.testing.assert_allclose(found, [24 / (3 * 8), 12 / (3 * 2.0)])


def test_fn_mse_with_the_whole_image_as_least_area_is_mse(images):
    found = foreground_normalized_mse(*images, min_area=16.0)
    np.testing.assert_allclose(found, mse(*images[:2]))
    np.testing.assert_allclose(found, [24 / 48, 12 / 48])
