"""The sets of a config's data: training, validation held out of it, and test."""

import numpy as np
from ml_collections import ConfigDict

from harmony_jax.data.composites.photo_set import PhotoSet
from harmony_jax.data.composites.recipe import Recipe
from harmony_jax.data.composites.source import PhotosSource
from harmony_jax.data.demo import demo_folder
from harmony_jax.data.iharmony4 import SUBSETS, IHarmony4Source, scene_of
from harmony_jax.data.pairs import PairsSource
from harmony_jax.data.prepared import PreparedSource, is_prepared
from harmony_jax.data.sources import Source
from harmony_jax.errors import InputError

_HAVE_OWN_TEST_SET = ("iharmony4", "demo")


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

    Args:
        data: the config's `data` section (configs/base.py).
        split: `train`, `validation` or `test`. Validation is held out of the training list, scene
            by scene; with `data.validation_fraction` 0 it is empty. The test set of `pairs` and
            `photos` is `data.test_root`, or without that the validation set.
    """
    if split not in ("train", "validation", "test"):
        raise InputError(f"split {split!r}: choose 'train', 'validation' or 'test'")
    if not 0 <= data.validation_fraction < 1:
        raise InputError(
            f"data.validation_fraction {data.validation_fraction}: choose 0 or more and below 1"
        )
    has_test_set = data.name in _HAVE_OWN_TEST_SET
    if data.test_root and has_test_set:
        raise InputError(f"data.test_root {data.test_root}: data.name {data.name!r} has its own")
    if data.name == "demo":
        data = data.copy_and_resolve_references()
        data.update(name="photos", root=demo_folder(), test_root=demo_folder())
    is_test = split == "test" and bool(has_test_set or data.test_root)
    source = _open_listed(data, is_test)
    if is_test:
        return source
    train, validation = hold_out(source, data.validation_fraction, data.validation_seed)
    return train if split == "train" else validation


def _open_listed(data: ConfigDict, is_test: bool) -> Source:
    """All samples of the test set, or those to train on and to validate."""
    listed = "test" if is_test else "train"
    field = "data.test_root" if is_test else "data.root"
    root = data.test_root if is_test else data.root
    if data.name == "iharmony4":
        if not data.subsets:
            raise InputError(f"data.subsets is empty: choose from {', '.join(SUBSETS)}")
        form = PreparedSource if is_prepared(data.root) else IHarmony4Source
        return form(data.root, listed, tuple(data.subsets))
    if data.name == "pairs":
        return PairsSource(root, field)
    if data.name == "photos":
        photos = PhotoSet(root, data.masks, data.regions_per_photo, field)
        return PhotosSource(photos, Recipe.of(data.composites), data.validation_seed)
    raise InputError(f"data.name {data.name!r}: choose 'iharmony4', 'pairs', 'photos' or 'demo'")


def hold_out(source: Source, fraction: float, seed: int) -> tuple[Source, Source]:
    """Splits a source into training and validation sets that share no scene.

    Args:
        source: the training list.
        fraction: share of the scenes to hold out, in [0, 1).
        seed: which scenes.

    Returns:
        The rest and the held-out samples, each in the source's order.
    """
    scenes = [scene_of(source.photo(index)) for index in range(len(source))]
    distinct = sorted(set(scenes))
    count = int(np.ceil(fraction * len(distinct)))
    chosen = np.random.default_rng(seed).permutation(len(distinct))[:count]
    held_out = {distinct[index] for index in chosen}
    training = [index for index, name in enumerate(scenes) if name not in held_out]
    validation = [index for index, name in enumerate(scenes) if name in held_out]
    return source.select(training), source.select(validation)
