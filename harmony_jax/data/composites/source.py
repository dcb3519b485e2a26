"""Composites of a folder's photos as a data set: fixed ones to look at, raw ones to train on."""

import copy
import zlib
from collections.abc import Sequence

import numpy as np

from harmony_jax.data.composites.compose import compose_with_numpy
from harmony_jax.data.composites.parameters import DRAWS, Parameters, draw_one
from harmony_jax.data.composites.photo_set import PhotoSet
from harmony_jax.data.composites.recipe import Recipe
from harmony_jax.data.composites.statistics import Statistics
from harmony_jax.data.sources import RawSample, Sample, Source
from harmony_jax.errors import InputError


class PhotosSource(Source):
    """Random access to composites of photos, of each object a fixed one, at the photo's size.

    They are what is validated and evaluated on; training makes new ones of `raw` samples. They
    form one subset, named after the folder.

    Args:
        photos: whose objects are recoloured.
        recipe: how.
        seed: of the fixed composites; a composite depends on it, its name and the photos.

    Raises:
        InputError: there is one object alone, and it should take colours of others.
    """

    recipe: Recipe

    def __init__(self, photos: PhotoSet, recipe: Recipe, seed: int = 0):
        if len(photos) < 2 and recipe.transfers:
            raise InputError(
                f"{photos.root}: one object alone, {photos.name(0)}, and none to take colours of: "
                "add photos, or set reinhard, linear and histogram of data.composites to 0"
            )
        self.recipe = recipe
        self._photos, self._seed = photos, seed
        self._indices: Sequence[int] = range(len(photos))

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample:
        """Makes one composite.

        Raises:
            InputError: as `PhotoSet.read`.
        """
        number = self._indices[index]
        real, mask = self._photos.read(number)
        composite, given = compose_with_numpy(real, mask, self.parameters(index))
        return Sample(composite=composite, real=real, mask=given)

    def parameters(self, index: int) -> Parameters:
        """What is done to the object in its fixed composite."""
        number = self._indices[index]
        rng = np.random.default_rng([self._seed, zlib.crc32(self._photos.name(number).encode())])
        return draw_one(self.recipe, rng.random(DRAWS), number, self._photos)

    def select(self, indices: Sequence[int]) -> "PhotosSource":
        """Some of the objects; those not among them still lend colours to fixed composites."""
        selected = copy.copy(self)
        selected._indices = [self._indices[index] for index in indices]
        return selected

    def with_seed(self, seed: int) -> "PhotosSource":
        """The same objects in other composites."""
        other = copy.copy(self)
        other._seed = seed
        return other

    def raw(self) -> "RawPhotos":
        """The objects before they are recoloured, for training."""
        return RawPhotos(self._photos, self._indices)

    def subset(self, index: int) -> str:
        return self._photos.root.absolute().name

    def name(self, index: int) -> str:
        return self._photos.name(self._indices[index])

    def photo(self, index: int) -> str:
        return self._photos.photo(self._indices[index])


class RawPhotos:
    """Random access to photos with their masks, and to the colours of each object."""

    def __init__(self, photos: PhotoSet, indices: Sequence[int]):
        self._photos, self._indices = photos, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> RawSample:
        """Decodes one.

        Raises:
            InputError: as `PhotoSet.read`.
        """
        real, mask = self._photos.read(self._indices[index])
        return RawSample(real=real, mask=mask)

    def statistics(self, index: int) -> Statistics:
        """The object's colours; raises InputError if it cannot be read."""
        return self._photos.statistics(self._indices[index])

    def set_statistics(self, index: int, statistics: Statistics) -> None:
        """Spares reading the photo for them."""
        self._photos.set_statistics(self._indices[index], statistics)
