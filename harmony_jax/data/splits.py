"""The sets of a config's data: training, validation held out of it, and test."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from harmony_jax.data.composites.photo_set import PhotoSet
from harmony_jax.data.composites.recipe import Recipe
from harmony_jax.data.composites.source import PhotosSource
from harmony_jax.data.demo import demo_folder
from harmony_jax.data.iharmony4 import SUBSETS, IHarmony4Source, scene_of
from harmony_jax.data.pairs import PairsSource, find_test_list, is_pairs
from harmony_jax.data.prepared import PreparedSource, is_prepared
from harmony_jax.data.sources import Source
from harmony_jax.errors import InputError


class DataSet(NamedTuple):
    """What `data.name` names."""

    source: type[Source]  # the class of its samples
    # Opens the test set (True), or all samples to train on and to validate.
    open: Callable[[ConfigDict, bool], Source]
    has_test_set: bool = False  # of its own, so that `data.test_root` is not for it


def data_set(name: str) -> DataSet:
    """The data set of this name."""
    if name not in DATA_SETS:
        raise InputError(f"data.name {name!r}: choose {', '.join(DATA_SETS)}")
    return DATA_SETS[name]


def lacks_test_set(data: ConfigDict) -> bool:
    """Whether the validation set is the test set, as there is no other."""
    if data.test_root or data_set(data.name).has_test_set:
        return False
    return data.name != "pairs" or find_test_list(data.root) is None


def open_path(root: str, subsets: Sequence[str]) -> Source:
    """The samples of a path to evaluate: pairs, or the test list of iHarmony4."""
    return PairsSource(root) if is_pairs(root) else _iharmony4(root, True, subsets)


def open_set(config: ConfigDict, split: str) -> Source:
    """Opens one set of a run, as `open_split`.

    Where training never validates (`evaluation.every_epochs` 0), nothing is held out.
    """
    data = config.data
    if config.evaluation.every_epochs <= 0:
        data = data.copy_and_resolve_references()
        data.validation_fraction = 0.0
    return open_split(data, split)


def open_split(data: ConfigDict, split: str) -> Source:
    """Opens one set of a config's data.

    The splits are `train`, `validation` and `test`. Validation is held out of the training list,
    scene by scene; with `data.validation_fraction` 0 it is empty. The test set of `pairs` and
    `photos` is `data.test_root`, or without that the folder's test list, or the validation set.
    """
    if split not in ("train", "validation", "test"):
        raise InputError(f"split {split!r}: choose 'train', 'validation' or 'test'")
    found = data_set(data.name)
    if data.test_root and found.has_test_set:
        raise InputError(f"data.test_root {data.test_root}: data.name {data.name!r} has its own")
    if split == "test" and not lacks_test_set(data):
        return found.open(data, True)
    source = found.open(data, False)
    train, validation = hold_out(source, data.validation_fraction, data.validation_seed)
    return train if split == "train" else validation


def hold_out(source: Source, fraction: float, seed: int) -> tuple[Source, Source]:
    """Splits a training list into training and validation sets that share no scene.

    The validation set gets a share of the scenes in [0, 1); both keep the source's order.
    """
    scenes = [scene_of(source.photo(index)) for index in range(len(source))]
    distinct = sorted(set(scenes))
    count = int(np.ceil(fraction * len(distinct)))
    chosen = np.random.default_rng(seed).permutation(len(distinct))[:count]
    held_out = {distinct[index] for index in chosen}
    training = [index for index, name in enumerate(scenes) if name not in held_out]
    validation = [index for index, name in enumerate(scenes) if name in held_out]
    return source.select(training), source.select(validation)


def _iharmony4(root: str, is_test: bool, subsets: Sequence[str]) -> Source:
    if not subsets:
        raise InputError(f"data.subsets is empty: choose from {', '.join(SUBSETS)}")
    form = PreparedSource if is_prepared(root) else IHarmony4Source
    return form(root, "test" if is_test else "train", tuple(subsets))


def _root(data: ConfigDict, is_test: bool) -> tuple[str, str]:
    """The folder, and the field that names it."""
    return (data.test_root, "data.test_root") if is_test else (data.root, "data.root")


def _pairs(data: ConfigDict, is_test: bool) -> Source:
    if is_test and data.test_root:
        return PairsSource(data.test_root, "data.test_root")
    return PairsSource(data.root, "data.root", "test" if is_test else "train")


def _photos(data: ConfigDict, root: str, field: str) -> Source:
    photos = PhotoSet(root, data.masks, data.regions_per_photo, field)
    return PhotosSource(photos, Recipe.of(data.composites), data.validation_seed)


DATA_SETS = {
    "iharmony4": DataSet(
        IHarmony4Source,
        lambda data, is_test: _iharmony4(data.root, is_test, data.subsets),
        has_test_set=True,
    ),
    "pairs": DataSet(PairsSource, _pairs),
    "photos": DataSet(PhotosSource, lambda data, is_test: _photos(data, *_root(data, is_test))),
    "demo": DataSet(
        PhotosSource, lambda data, _: _photos(data, demo_folder(), "data.root"), has_test_set=True
    ),
}
