"""What a preparation reports: counts beside the published ones, and unreadable samples."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from harmony_jax.data.iharmony4 import PUBLISHED
from harmony_jax.disk import encoded, write_file
from harmony_jax.errors import InputError

UNREADABLE_LIST = "unreadable.txt"

_SHOWN = 10


class Unreadable(NamedTuple):
    """A listed sample with a missing or damaged file."""

    split: str
    subset: str
    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.split} {self.subset}/{self.name}: {self.reason}"


class Preparation(NamedTuple):
    """The outcome of preparing iHarmony4."""

    listed: Mapping[tuple[str, str], int]  # samples in each list, (split, subset) -> count
    unreadable: Sequence[Unreadable]  # those that the set lacks
    complete: bool  # whether the set can be read

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
        lines = [f"{'split':7}{'subset':11}{'readable':>10}{'listed':>10}{'published':>10}"]
        for split, published in PUBLISHED.items():
            subsets = [subset for found, subset in self.listed if found == split]
            for name, of in [*((subset, [subset]) for subset in subsets), ("All", subsets)]:
                counts = [sum(c[split, s] for s in of) for c in (self.readable, self.listed)]
                # The total stands beside that of the whole data set, whatever was asked for.
                counts.append(sum(published.values()) if name == "All" else published[name])
                lines.append(f"{split:7}{name:11}" + "".join(f"{count:10,}" for count in counts))
        return "\n".join(lines)


def list_unreadable(folder: Path, unreadable: Sequence[object]) -> None:
    """Writes `unreadable.txt` with a line for each sample; without samples, removes it."""
    path = folder / UNREADABLE_LIST
    if unreadable:
        write_file(path, encoded("".join(f"{sample}\n" for sample in unreadable)))
    else:
        path.unlink(missing_ok=True)


def print_unreadable(unreadable: Sequence[object]) -> None:
    """Prints the first unreadable samples, and how many more there are."""
    for sample in unreadable[:_SHOWN]:
        print(f"unreadable: {sample}")
    if len(unreadable) > _SHOWN:
        print(f"... and {len(unreadable) - _SHOWN} more, in {UNREADABLE_LIST}")


def cannot_be_written(path: object, reason: object) -> InputError:
    """The error for a full or read-only disk."""
    return InputError(
        f"{path}: cannot be written ({reason}): make room or choose another folder; the same "
        "command continues"
    )


@contextmanager
def writing(output: Path) -> Iterator[None]:
    """Raises InputError where the block raises OSError."""
    try:
        yield
    except OSError as error:
        raise cannot_be_written(error.filename or output, error.strerror) from error
