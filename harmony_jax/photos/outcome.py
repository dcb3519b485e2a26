"""What became of the photos, and its report on the terminal."""

import sys
from pathlib import Path
from typing import NamedTuple


class Outcome(NamedTuple):
    """What became of the photos.

    Attributes:
        written: the outputs made.
        present: how many outputs were there already, and stayed.
        failures: what is wrong with each photo that could not be done, a line each.
    """

    written: list[Path]
    present: int
    failures: list[str]


def report(outcome: Outcome) -> int:
    """Tells what became of the photos.

    Returns:
        The exit status: 0 if all are done, else 2.
    """
    if len(outcome.written) == 1 and not outcome.present and not outcome.failures:
        print(outcome.written[0])
        return 0
    text = f"{len(outcome.written)} harmonized"
    if outcome.present:
        text += f", {outcome.present} were there already"
    if outcome.failures:
        text += f", {len(outcome.failures)} failed:"
    print(text, *outcome.failures, sep="\n  ", file=sys.stderr)
    return 2 if outcome.failures else 0
