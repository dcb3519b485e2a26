"""The sets of a config's data: training, validation held out of it, and test."""

from collections.abc import Callable

import numpy as np
from ml_collections import ConfigDict

from harmony_jax.data.composites.photo_set import PhotoSet
from harmony_jax.data.composites.recipe import Recipe
from harmony_jax.data.composites.source import PhotosSource
from harmony_jax.data.demo import demo_folder
from harmony_jax.data.iharmony4 import SUBSETS, IHarmony4Source, scene_of
from harmony_jax.data.pairs import PairsSource
from harmony_jax.data.prepared import PreparedSource, is_prepared
from harmony_jax.data.sources import Selection, Source
from harmony_jax.errors import InputError

# `data.validation_by`: what stays on one side of the split, from a real photo.
_GROUPS: dict[str, Callable[[str], str]] = {"scene": scene_of, "photo": lambda photo: photo}


def open_set(config: ConfigDict, split: str) -> Source:
    """Opens one set of a run, as `open_split`.

    Where nothing is validated in training (`evaluation.every_epochs` 0), nothing is held out.
    Trainings begun with `data.validation_by` photo, the older rule, held out all the same.
    """
    data = config.data
    if config.evaluation.every_epochs <= 0 and data.validation_by == "scene":
        data = data.copy_and_resolve_references()
        data.validation_fraction = 0.0
    return open_split(data, split)


def open_split(data: ConfigDict, split: str) -> Source:
    """Opens one set of a config's data.

    Args:
        data: the config's `data` section (configs/base.py).
        split: `train`, `validation` or `test`. Validation is held out of the training list, scene
            by scene; with `data.validation_fraction` 0 it is empty. The test set of `pairs` is
            `data.test_root`; without, the validation set; so too that of `photos`.

    Raises:
        InputError: unknown data set or split, or files missing.
    """
    if split not in ("train", "validation", "test"):
        raise InputError(f"split {split!r}: choose 'train', 'validation' or 'test'")
    if not 0 <= data.validation_fraction < 1:
        raise InputError(
            f"data.validation_fraction {data.validation_fraction}: choose 0 or more and below 1"
        )
    if data.test_root and data.name not in ("pairs", "photos"):
        raise InputError(f"data.test_root {data.test_root}: data.name {data.name!r} has its own")
    if data.name == "demo":
        data = data.copy_and_resolve_references()
        data.update(name="photos", root=demo_folder(), test_root=demo_folder())
    listed = "test" if split == "test" else "train"
    source: Source
    if data.name == "iharmony4":
        if not data.subsets:
            raise InputError(f"data.subsets is empty: choose of {', '.join(SUBSETS)}")
        form = PreparedSource if is_prepared(data.root) else IHarmony4Source
        source = form(data.root, listed, tuple(data.subsets))
    elif data.name == "pairs":
        if split == "test" and data.test_root:
            return PairsSource(data.test_root, "data.test_root")
        source, listed = PairsSource(data.root, "data.root"), "train"
    elif data.name == "photos":
        if split == "test" and data.test_root:
            return _photos_source(data, data.test_root, "data.test_root")
        source, listed = _photos_source(data, data.root, "data.root"), "train"
    else:
        raise InputError(
            f"data.name {data.name!r}: choose 'iharmony4', 'pairs', 'photos' or 'demo'"
        )
    if listed == "test":
        return source
    if data.validation_by not in _GROUPS:
        raise InputError(
            f"data.validation_by {data.validation_by!r}: choose {' or '.join(map(repr, _GROUPS))}"
        )
    train, validation = hold_out(
        source, data.validation_fraction, data.validation_seed, _GROUPS[data.validation_by]
    )
    return train if split == "train" else validation


def _photos_source(data: ConfigDict, root: str, field: str) -> PhotosSource:
    photos = PhotoSet(root, data.masks, data.regions_per_photo, field)
    return PhotosSource(photos, Recipe.of(data.composites), data.validation_seed)


def hold_out(
    source: Source, fraction: float, seed: int, scene: Callable[[str], str] = scene_of
) -> tuple[Source, Source]:
    """Splits a source into training and validation sets that share no scene.

    Args:
        source: the training list.
        fraction: share of the scenes to hold out, in [0, 1).
        seed: which scenes.
        scene: of a real photo.

    Returns:
        The rest and the held-out samples, each in the source's order.
    """
    scenes = [scene(source.photo(index)) for index in range(len(source))]
    distinct = sorted(set(scenes))
    count = int(np.ceil(fraction * len(distinct)))
    chosen = np.random.default_rng(seed).permutation(len(distinct))[:count]
    held_out = {distinct[index] for index in chosen}
    training = [index for index, name in enumerate(scenes) if name not in held_out]
    validation = [index for index, name in enumerate(scenes) if name in held_out]
    return _selected(source, training), _selected(source, validation)


def _selected(source: Source, indices: list[int]) -> Source:
    # Photos stay what they are: composites are made of them in training.
    return (
        source.select(indices) if isinstance(source, PhotosSource) else Selection(source, indices)
    )
