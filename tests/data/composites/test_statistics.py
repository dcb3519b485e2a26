import cv2
import numpy as np

from harmony_jax.data.composites.statistics import object_statistics
from tests.data.composites.made_photo import made_photo


def test_statistics_are_those_of_the_pixels_inside():
    photo, mask = made_photo(3)
    found = object_statistics(photo, mask)
    inside = photo[mask > 127] / 255
    lab = cv2.cvtColor(np.float32(photo) / 255, cv2.COLOR_RGB2LAB)[mask > 127]
    np.testing.assert_allclose(found.mean, inside.mean(0), atol=1e-5)
    np.testing.assert_allclose(found.lab_mean, lab.mean(0), atol=1e-3)
    np.testing.assert_allclose(found.lab_deviation, lab.std(0), atol=5e-3)
    np.testing.assert_allclose(found.covariance, np.cov(inside.T), atol=1e-4)
    np.testing.assert_allclose(found.quantiles[:, 16], np.median(inside, 0), atol=1e-6)
