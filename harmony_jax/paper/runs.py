"""Trainings of a table's rows: each a process of main.py with a workdir of its own."""

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from harmony_jax.errors import InputError
from harmony_jax.evaluation.published import PaperRow, PaperTable
from harmony_jax.weights.steps import FOLDER, saved_steps

_ROOT = Path(__file__).parents[2]
_RELAYED = {signal.SIGINT: signal.SIGINT, signal.SIGTERM: signal.SIGTERM}
if hasattr(signal, "SIGHUP"):  # not on Windows
    # A closed terminal stops a training like a preempted machine does: it saves first.
    _RELAYED[signal.SIGHUP] = signal.SIGTERM


class RowRun(NamedTuple):
    """What a row's training is given.

    Attributes:
        row: of the paper's table.
        config: path of its config file, with the row's name.
        workdir: its own.
        backbone: weight file for `init.backbone`; empty: none.
        from_scratch: whether a row that the paper started from ImageNet weights goes without.
    """

    row: PaperRow
    config: str
    workdir: Path
    backbone: str
    from_scratch: bool


def row_run(
    table: PaperTable,
    row: PaperRow,
    folder: Path,
    *,
    backbone: str = "",
    imagenet: Path | None = None,
    from_scratch: bool = False,
) -> RowRun:
    """Where a row is trained, and from which ImageNet weights.

    Args:
        table, row: the paper's.
        folder: of the table. A row has `folder/KEY`, or `folder/KEY_from_scratch` without its
            ImageNet weights, so that neither is taken for the other.
        backbone: file for every row that wants ImageNet weights; empty: look into `imagenet`.
        imagenet: folder with the files that `PaperRow.weights` names, or .safetensors of that name.
        from_scratch: do without these files.
    """
    scratch = from_scratch and bool(row.weights)
    if imagenet is not None and not backbone:
        named = [(imagenet / row.weights).with_suffix(end) for end in (".pth", ".safetensors")]
        backbone = next((str(path) for path in named if path.is_file()), "")
    return RowRun(
        row=row,
        config=f"{_ROOT / 'configs' / 'table.py'}:{table.number},{row.key}",
        workdir=folder / (f"{row.key}_from_scratch" if scratch else row.key),
        backbone=backbone if row.weights and not scratch else "",
        from_scratch=scratch,
    )


def check_backbone(run: RowRun) -> None:
    """Raises InputError if a row's training would begin without the ImageNet weights it wants."""
    if not run.row.weights or run.from_scratch or saved_steps(run.workdir / FOLDER):
        return
    if not run.backbone:
        raise InputError(
            f"init.backbone is not set, and {run.row.key} starts from ImageNet weights: set it, "
            f"or pass a folder with {run.row.weights} as imagenet, or train from_scratch"
        )
    if not Path(run.backbone).is_file():
        raise InputError(
            f"init.backbone {run.backbone}: no such file: {run.row.key} starts from "
            f"{run.row.weights}"
        )


def command(run: RowRun, overrides: Mapping[str, Any]) -> list[str]:
    """The command that trains and evaluates a row, continues it, or finds it finished."""
    fields = {**overrides, "init.backbone": run.backbone} if run.backbone else overrides
    return [
        sys.executable,
        str(_ROOT / "main.py"),
        f"--config={run.config}",
        f"--workdir={run.workdir}",
        *(f"--config.{field}={value}" for field, value in fields.items()),
    ]


class Relay:
    """Runs commands one after another and, as a context, passes this process's signals to them.

    Attributes:
        signal: the first signal that asked to stop, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._child: subprocess.Popen | None = None

    def __enter__(self) -> "Relay":
        self._previous = {number: signal.signal(number, self._note) for number in _RELAYED}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def run(self, arguments: Sequence[str]) -> int:
        """The command's exit status, as a shell reports it: 128 more for a signal.

        Once a signal has come, nothing is run.
        """
        if self.signal is None:
            # A process group of its own: the terminal's Ctrl-C reaches the command only from here.
            child = subprocess.Popen(arguments, process_group=0)
            before, self._child = self.signal, child  # no handler runs in between
            if before is not None:  # it came while the command started
                child.send_signal(_RELAYED[signal.Signals(before)])
            status = child.wait()
            self._child = None
            if self.signal is None:
                return status if status >= 0 else 128 - status
        return 128 + _RELAYED[signal.Signals(self.signal)]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal = number
        if self._child is not None:
            self._child.send_signal(_RELAYED[signal.Signals(number)])
