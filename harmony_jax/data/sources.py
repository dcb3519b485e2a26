"""What a data set is to the rest of the system, and how it is split."""

from collections.abc import Sequence
from typing import Any, Protocol, TypedDict, cast, runtime_checkable

import numpy as np

from harmony_jax.data.composites.statistics import Statistics
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


@runtime_checkable
class Source(Protocol):
    """Random access to samples; what grain calls a random-access data source."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def subset(self, index: int) -> str:
        """The subset that a sample's metrics are counted in."""
        ...

    def name(self, index: int) -> str:
        """The sample's name, unique in its subset."""
        ...

    def photo(self, index: int) -> str:
        """Identifies the real photo, which is never split over two sets."""
        ...


@runtime_checkable
class RawSource(Protocol):
    """Random access to photos whose composites are made later."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> RawSample: ...

    def statistics(self, index: int) -> Statistics:
        """The colours of a photo's object; raises InputError if it cannot be read."""
        ...

    def set_statistics(self, index: int, statistics: Statistics) -> None:
        """Spares reading the photo for them."""
        ...


class Selection:
    """Some samples of a source, in a given order; a `Source` itself."""

    def __init__(self, source: Source, indices: Sequence[int]):
        self._source = source
        self._indices = list(indices)

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


# A `Sample` or `RawSample` that says which it is: `index`, its number in the source, and
# `unreadable`, the number of the sample that it stands in for, or -1.
NumberedSample = dict[str, Any]


class Numbered:
    """A source's samples with their numbers, for training.

    Args:
        source: the samples, or photos whose composites are made later.
        unreadable: what a sample is that cannot be read: an `error`, or with `skip` the next
            sample that can be read takes its place, so that batches keep their size and every
            step its samples, whichever files are damaged.

    Raises:
        InputError: an unknown policy.
    """

    def __init__(self, source: Source | RawSource, unreadable: str):
        if unreadable not in ("error", "skip"):
            raise InputError(f"data.unreadable {unreadable!r}: choose 'error' or 'skip'")
        self._source = source
        self._skip = unreadable == "skip"

    def __len__(self) -> int:
        return len(self._source)

    def statistics(self, index: int) -> Statistics:
        """As `RawSource`, where the samples are of one."""
        return cast(RawSource, self._source).statistics(index)

    def set_statistics(self, index: int, statistics: Statistics) -> None:
        """As `RawSource`, where the samples are of one."""
        cast(RawSource, self._source).set_statistics(index, statistics)

    def __getitem__(self, index: int) -> NumberedSample:
        """One sample, or the one in its place.

        Raises:
            InputError: it is unreadable and this is an error, or so are all behind it.
        """
        tries = _MAX_UNREADABLE_IN_A_ROW if self._skip else 1
        for number in range(tries):
            found = (index + number) % len(self._source)
            try:
                sample = self._source[found]
            except InputError as error:
                if not self._skip:
                    raise
                reason = error
            else:
                return {**sample, "index": found, "unreadable": index if number else -1}
        raise InputError(f"{tries} samples in a row cannot be read, the last one: {reason}")


def sample_name(source: Source, index: int) -> str:
    """Such as HCOCO/c10_1_2.jpg."""
    return f"{source.subset(index)}/{source.name(index)}"
