"""A folder's photos as a data set: fixed composites to evaluate, photos to train on."""

import copy
import zlib
from collections.abc import Sequence

import numpy as np

from harmony_jax.data.batching import PIXELS
from harmony_jax.data.composites.compose import compose_with_numpy
from harmony_jax.data.composites.parameters import DRAWS, Parameters, draw_one
from harmony_jax.data.composites.photo_set import PhotoSet
from harmony_jax.data.composites.recipe import Recipe
from harmony_jax.data.sources import Sample, Source
from harmony_jax.errors import InputError


class PhotosSource(Source):
    """Random access to composites of photos, a fixed one of each object, at the photo's size.

    They serve for validation and evaluation; training makes new composites of the `raw` samples.
    All of them form one subset, named after the folder. The fixed composites follow from the seed,
    their names and the photos.
    """

    recipe: Recipe
    pictures = PIXELS[1:]

    def __init__(self, photos: PhotoSet, recipe: Recipe, seed: int = 0):
        if len(photos) < 2 and recipe.transfers:
            raise InputError(
                f"{photos.root}: only one object, {photos.name(0)}, and none to take colours of: "
                "add photos, or set reinhard, linear and histogram of data.composites to 0"
            )
        self.recipe, self.root = recipe, photos.root
        self._photos, self._seed = photos, seed
        self._indices: Sequence[int] = range(len(photos))

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample:
        raw = self._photos[self._indices[index]]
        composite, mask = compose_with_numpy(raw["real"], raw["mask"], self.parameters(index))
        return Sample(composite=composite, real=raw["real"], mask=mask)

    def parameters(self, index: int) -> Parameters:
        """What is done to the object in its fixed composite."""
        number = self._indices[index]
        name = self._photos.name(number).encode(errors="surrogateescape")
        rng = np.random.default_rng([self._seed, zlib.crc32(name)])
        return draw_one(self.recipe, rng.random(DRAWS), number, self._photos)

    def select(self, indices: Sequence[int]) -> "PhotosSource":
        """Some of the objects; the others still lend their colours to fixed composites."""
        selected = copy.copy(self)
        selected._indices = [self._indices[index] for index in indices]
        return selected

    def with_seed(self, seed: int) -> "PhotosSource":
        """Other composites of the same objects."""
        other = copy.copy(self)
        other._seed = seed
        return other

    def raw(self) -> PhotoSet:
        """The objects before they are recoloured, to train on."""
        return self._photos.select(self._indices)

    def subset(self, index: int) -> str:
        return self.root.absolute().name

    def name(self, index: int) -> str:
        return self._photos.name(self._indices[index])

    def photo(self, index: int) -> str:
        return self._photos.photo(self._indices[index])
