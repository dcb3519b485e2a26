"""What a data set is to the rest of the system."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np

from harmony_jax.data.batching import PIXELS
from harmony_jax.data.composites.recipe import Recipe
from harmony_jax.errors import InputError

_MAX_UNREADABLE_IN_A_ROW = 16


class Sample(TypedDict):
    """One decoded sample, uint8, all three of one height and width."""

    composite: np.ndarray  # [height, width, 3] RGB
    real: np.ndarray  # [height, width, 3] RGB
    mask: np.ndarray  # [height, width], soft values kept


class RawSample(TypedDict):
    """A photo whose composite is made later, uint8, both of one height and width."""

    real: np.ndarray  # [height, width, 3] RGB
    mask: np.ndarray  # [height, width]


class Source(ABC):
    """Random access to samples; what grain calls a random-access data source."""

    # How training makes composites of `raw` samples; None: samples have theirs.
    recipe: Recipe | None = None
    # The keys of the pictures in `raw` samples.
    pictures: tuple[str, ...] = PIXELS
    # The data set's name, if `evaluation/published.csv` has results of it. Without it these are
    # pictures of one's own, whose subset is named after their folder, which may move.
    published: str = ""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Sample: ...

    @abstractmethod
    def subset(self, index: int) -> str:
        """The subset that a sample's metrics are counted in."""

    @abstractmethod
    def name(self, index: int) -> str:
        """The sample's name, unique in its subset."""

    @abstractmethod
    def photo(self, index: int) -> str:
        """Identifies the real photo, which is never split over two sets."""

    @classmethod
    def samples_to_train(cls, subsets: Sequence[str]) -> int | None:
        """How many there are in these subsets, if that is known without reading them."""
        return None

    def raw(self) -> Any:
        """What training reads: with a `recipe` a `PhotoSet`, else the samples."""
        return self

    def select(self, indices: Sequence[int]) -> "Source":
        """Some of the samples, in a given order."""
        return Selection(self, indices)


class Selection(Source):
    """Some samples of a source, in a given order."""

    def __init__(self, source: Source, indices: Sequence[int]):
        self._source = source
        self._indices = list(indices)
        self.published = source.published

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample:
        return self._source[self._indices[index]]

    def subset(self, index: int) -> str:
        return self._source.subset(self._indices[index])

    def name(self, index: int) -> str:
        return self._source.name(self._indices[index])

    def photo(self, index: int) -> str:
        return self._source.photo(self._indices[index])


class Numbered:
    """What training reads of a source: its raw samples, with their numbers.

    A sample that cannot be read is an error, or with `unreadable="skip"` the next readable one
    takes its place, so that batches keep their size and steps their samples, whichever files are
    damaged.

    Attributes:
        objects: with a recipe, the photos, whose objects lend each other colours.
    """

    def __init__(self, source: Source, unreadable: str):
        self._raw = source.raw()
        self._tries = _MAX_UNREADABLE_IN_A_ROW if unreadable == "skip" else 1
        self.recipe = source.recipe
        self.objects = self._raw
        self.pictures = source.pictures

    def __len__(self) -> int:
        return len(self._raw)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A sample, or the one in its place.

        Besides pictures it has `index`, the number of the sample that was read, and `unreadable`,
        the number of the sample that this one stands in for, or -1.
        """
        reasons = []
        for found in range(index, index + self._tries):
            found %= len(self._raw)
            try:
                sample = self._raw[found]
            except InputError as error:
                reasons.append(error)
            else:
                return {**sample, "index": found, "unreadable": index if reasons else -1}
        if self._tries == 1:
            raise InputError(
                f"{reasons[0]}; or set data.unreadable to skip: other samples then take its place"
            )
        raise InputError(
            f"{self._tries} samples in a row cannot be read, the last one: {reasons[-1]}"
        )


def sample_name(source: Source, index: int) -> str:
    """Such as HCOCO/c10_1_2.jpg."""
    return f"{source.subset(index)}/{source.name(index)}"
