import importlib.util

import numpy as np
import pytest

from configs import demo
from harmony_jax.data.demo import PHOTOS, demo_folder
from harmony_jax.data.splits import open_split
from harmony_jax.errors import InputError


def test_every_photo_has_its_objects_and_their_composites_differ_visibly():
    config = demo.get_config()
    test_set = open_split(config.data, "test")
    photos = {test_set.photo(index) for index in range(len(test_set))}
    assert len(photos) == sum(map(len, PHOTOS.values()))
    assert len(test_set) == config.data.regions_per_photo * len(photos)
    assert len(open_split(config.data, "train")) == len(test_set)
    assert {test_set.subset(index) for index in range(len(test_set))} == {"demo"}
    errors, inside = [], []
    for index in range(len(test_set)):
        sample = test_set[index]
        object_ = sample["mask"] > 0
        np.testing.assert_array_equal(sample["composite"][~object_], sample["real"][~object_])
        assert 0.03 < object_.mean() < 0.55
        squared = (sample["composite"].astype(float) - sample["real"]) ** 2
        inside.append(squared[object_].mean())
        errors.append(squared.mean())
    assert np.mean(np.array(inside) > 100) > 0.8
    assert 300 < np.mean(errors) < 900


def test_a_missing_photo_package_names_the_extra_to_install(monkeypatch):
    demo_folder.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'harmony_jax\[demo\]'"):
        open_split(demo.get_config().data, "test")
