import importlib.util
import pickle

import cv2
import numpy as np
import pytest

from configs import demo
from harmony_jax.data.composites.recipe import Recipe
from harmony_jax.data.demo import PHOTOS, DemoSource, photo_regions
from harmony_jax.errors import InputError

RECIPE = Recipe.of(demo.get_config().data.composites)


@pytest.fixture(scope="module")
def splits() -> dict[str, DemoSource]:
    return {split: DemoSource(split, 64, RECIPE) for split in ("train", "test")}


def iter_samples(source: DemoSource):
    return (source[index] for index in range(len(source)))


def test_items_have_the_promised_shapes_and_unique_names(splits):
    for source in splits.values():
        for item in iter_samples(source):
            assert item["composite"].shape == item["real"].shape == (64, 64, 3)
            assert item["mask"].shape == (64, 64)
            assert {item[key].dtype for key in ("composite", "real", "mask")} == {np.dtype("uint8")}
        assert len({source.name(index) for index in range(len(source))}) == len(source)
        assert {source.subset(index) for index in range(len(source))} == set(PHOTOS)


def test_same_arguments_give_the_same_composites_and_another_seed_others(splits):
    first, again = splits["test"], DemoSource("test", 64, RECIPE)
    other = DemoSource("test", 64, RECIPE, seed=1)
    for index in range(len(first)):
        for key in ("composite", "real", "mask"):
            np.testing.assert_array_equal(first[index][key], again[index][key])
        assert not np.array_equal(first[index]["composite"], other[index]["composite"])


def test_a_worker_process_gets_the_same_items(splits):
    source = splits["test"]
    copy = pickle.loads(pickle.dumps(source))
    assert len(copy) == len(source)
    np.testing.assert_array_equal(copy[3]["composite"], source[3]["composite"])


@pytest.mark.parametrize("split", ["train", "test"])
def test_only_the_foreground_changes_and_it_changes_visibly(splits, split):
    errors, inside = [], []
    for item in iter_samples(splits[split]):
        background = item["mask"] == 0
        np.testing.assert_array_equal(item["composite"][background], item["real"][background])
        squared = (item["composite"].astype(float) - item["real"]) ** 2
        inside.append(squared[item["mask"] == 255].mean())
        errors.append(squared.mean())
    assert np.mean(np.array(inside) > 100) > 0.8
    assert 300 < np.mean(errors) < 900


@pytest.mark.parametrize("split", ["train", "test"])
def test_masks_have_a_fair_ratio_and_an_edge_soft_by_less_than_three_pixels(splits, split):
    window = np.ones((7, 7), np.uint8)
    for item in iter_samples(splits[split]):
        mask = item["mask"]
        assert 0.03 <= mask.mean() / 255 <= 0.45
        assert np.isin(mask, (0, 255), invert=True).any()
        foreground = np.uint8(mask > 127)
        assert (mask[cv2.erode(foreground, window, borderValue=0) == 1] == 255).all()
        assert (mask[cv2.dilate(foreground, window, borderValue=1) == 0] == 0).all()


@pytest.mark.parametrize("photo", PHOTOS)
def test_no_test_region_overlaps_a_train_region(photo):
    regions = photo_regions(photo)
    for test_name, test_mask in regions["test"].items():
        for train_name, train_mask in regions["train"].items():
            shared = np.logical_and(test_mask, train_mask).sum()
            # A share of the smaller region, so that a part of an object counts in full too.
            smaller = min(np.count_nonzero(test_mask), np.count_nonzero(train_mask))
            assert shared < 0.05 * smaller, (test_name, train_name)


def test_unknown_split_is_one_clear_line():
    with pytest.raises(InputError, match=r"'validation'.*'train' or 'test'") as error:
        DemoSource("validation", 64, RECIPE)
    assert "\n" not in str(error.value)


def test_a_missing_photo_package_names_the_extra_to_install(monkeypatch):
    photo_regions.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'harmony_jax\[demo\]'"):
        DemoSource("test", 64, RECIPE)
