"""What came of preparing a data set: counts beside the published ones, and what is unreadable."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harmony_jax.data.iharmony4 import PUBLISHED


@dataclass(frozen=True)
class Unreadable:
    """A listed sample with a missing or damaged file."""

    split: str
    subset: str
    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.split} {self.subset}/{self.name}: {self.reason}"


@dataclass(frozen=True)
class Preparation:
    """How many samples each list has, (split, subset) -> count, and which cannot be read.

    If the set is `complete`, it holds all others.
    """

    listed: Mapping[tuple[str, str], int]
    unreadable: Sequence[Unreadable]
    complete: bool

    @property
    def readable(self) -> dict[tuple[str, str], int]:
        """Readable samples, as in `listed`."""
        lost = Counter((sample.split, sample.subset) for sample in self.unreadable)
        return {key: count - lost[key] for key, count in self.listed.items()}

    @property
    def as_published(self) -> bool:
        """Whether this is all of iHarmony4."""
        return self.readable == {
            (split, subset): count
            for split, counts in PUBLISHED.items()
            for subset, count in counts.items()
        }

    def table(self) -> str:
        """Readable, listed and published samples by split and subset."""
        rows: list[tuple[str, ...]] = [("split", "subset", "readable", "listed", "published")]
        for split, published in PUBLISHED.items():
            subsets = [subset for found, subset in self.listed if found == split]
            counts = [
                (self.readable[split, subset], self.listed[split, subset], published[subset])
                for subset in subsets
            ]
            # The total is beside that of the whole data set, whatever subsets were asked for.
            readable, listed, _ = map(sum, zip(*counts, strict=True))
            counts.append((readable, listed, sum(published.values())))
            for subset, numbers in zip([*subsets, "All"], counts, strict=True):
                rows.append((split, subset, *(f"{number:,}" for number in numbers)))
        return "\n".join(
            f"{split:<7}{subset:<11}" + "".join(f"{number:>10}" for number in numbers)
            for split, subset, *numbers in rows
        )
