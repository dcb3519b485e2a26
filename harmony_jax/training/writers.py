"""Where a training's curves, pictures and texts go: TensorBoard, and writers of one's own."""

import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import numpy as np

from harmony_jax.disk import encoded

TENSORBOARD = "tensorboard"  # folder of the workdir


@runtime_checkable
class Writer(Protocol):
    """Gets what a training has to show, on its first process; pass it to `train(..., writers=)`.

    A training that continues starts after its checkpoint, so it may repeat steps that were written
    before it was interrupted.
    """

    def scalar(self, name: str, value: float, step: int) -> None:
        """A number, such as `train/loss`, after so many steps."""

    def image(self, name: str, pixels: np.ndarray, step: int) -> None:
        """A picture, [height, width, 3] uint8 RGB."""

    def text(self, name: str, text: str, step: int) -> None:
        """A text of several lines, once at the start: `config` and `model`."""

    def close(self) -> None:
        """The training is over or interrupted."""


class TensorBoardWriter:
    """Writes event files; what the folder holds of steps after `start_step` is void."""

    def __init__(self, folder: Path, start_step: int):
        self._library = _tensorboardx()
        self._writer = self._library.SummaryWriter(str(folder), purge_step=start_step + 1)

    def scalar(self, name: str, value: float, step: int) -> None:
        self._writer.add_scalar(name, value, step)

    def image(self, name: str, pixels: np.ndarray, step: int) -> None:
        self._writer.add_image(name, pixels, step, dataformats="HWC")

    def text(self, name: str, text: str, step: int) -> None:
        # Markdown: indented, it keeps its lines and columns.
        block = "\n".join(f"    {line}" for line in text.splitlines())
        self._writer.add_text(name, block, step)

    def hyperparameters(self, values: Mapping[str, Any], metrics: list[str]) -> None:
        """For the page that compares runs.

        Args:
            values: by name; other types than numbers, booleans and strings are written as text.
            metrics: names of the scalars to compare.
        """
        plain = {
            name: value if isinstance(value, (bool, int, float)) else encoded(str(value)).decode()
            for name, value in values.items()
        }
        # Into this run's own file, where its scalars are: `add_hparams` would begin another run.
        # The last of the three would say that the run has ended.
        hparams = self._library.summary.hparams(plain, dict.fromkeys(metrics, 0.0))
        for summary in hparams[:2]:
            self._writer.file_writer.add_summary(summary)

    def close(self) -> None:
        self._writer.close()


def _tensorboardx() -> ModuleType:
    """tensorboardX. It would load PyTorch, if that is installed, for tensors it never gets here."""
    blocked = sys.modules.setdefault("torch", None) is None  # type: ignore[arg-type]
    try:
        import tensorboardX
        import tensorboardX.summary
    finally:
        if blocked:
            del sys.modules["torch"]
    return tensorboardX
