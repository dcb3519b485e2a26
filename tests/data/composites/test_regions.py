import sys

import cv2
import numpy as np
import pytest

from harmony_jax import InputError
from harmony_jax.data.composites.regions import find_regions, to_size
from tests.data.composites.made_photo import photo_with_segments


def test_regions_are_segments_joined_and_always_the_same():
    photo = photo_with_segments()
    regions = find_regions(photo, 3)
    assert len(regions) == 3
    for region, again in zip(regions, find_regions(photo, 3), strict=True):
        np.testing.assert_array_equal(region, again)
        assert cv2.connectedComponents(region)[0] == 2  # background and one piece
        # Whole patches: what is inside of one is all the same.
        large = to_size(region, *photo.shape[:2])
        for top, left in np.ndindex(3, 4):
            y, x = 40 * top + 12, 40 * left + 12
            assert np.ptp(large[y : y + 16, x : x + 16]) == 0


def test_without_scikit_image_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(InputError, match=r"pip install 'harmony_jax\[photos\]'"):
        find_regions(photo_with_segments(), 1)
