"""What a person sees of a running training: the progress line and TensorBoard."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import optax
from ml_collections import ConfigDict
from tensorboardX import SummaryWriter

from harmony_jax.report import comparison_table, example_sheet

if TYPE_CHECKING:
    from harmony_jax.evaluate import Evaluation


_LOGGER = logging.getLogger(__name__)


class Progress:
    """Prints a line and writes scalars every so many steps, on the first process only.

    Args:
        workdir: TensorBoard files go into its `tensorboard` folder.
        start_step: steps already done.
        total_steps: steps of the whole training.
        config: batch size, epochs and `train.log_every_steps`.
        schedule: the learning rate by steps already done.
    """

    def __init__(
        self,
        workdir: Path,
        start_step: int,
        total_steps: int,
        config: ConfigDict,
        schedule: optax.Schedule,
    ):
        self._active = jax.process_index() == 0 and start_step < total_steps
        self._writer = None
        if self._active:
            # Steps after the checkpoint that training continues from are written again.
            self._writer = SummaryWriter(str(workdir / "tensorboard"), purge_step=start_step + 1)
        self._total_steps = total_steps
        self._steps_per_epoch = total_steps / config.train.epochs
        self._epochs = config.train.epochs
        self._batch_size = config.train.batch_size
        self._every = config.train.log_every_steps
        self._schedule = schedule
        self._first_step = start_step + 1
        self._step = start_step
        self._since = time.monotonic()

    def after_step(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
        """Reports a step's scalars if it is its turn; else leaves the device undisturbed."""
        if not self._active:
            return
        if step == self._first_step:  # Compilation does not count as speed.
            jax.block_until_ready(metrics)
            self._step, self._since = step, time.monotonic()
            return
        if step % self._every and step != self._total_steps:
            return
        scalars = {name: float(value) for name, value in metrics.items()}
        scalars["learning_rate"] = float(self._schedule(step - 1))
        now = time.monotonic()
        speed = (step - self._step) / max(now - self._since, 1e-9)
        self._step, self._since = step, now
        scalars["images_per_second"] = speed * self._batch_size
        for name, value in scalars.items():
            self._write(f"train/{name}", value, step)
        _LOGGER.info(
            "step %d/%d (epoch %.1f/%d)  loss %.4f  %.1f images/s  %s left",
            step,
            self._total_steps,
            step / self._steps_per_epoch,
            self._epochs,
            scalars["loss"],
            scalars["images_per_second"],
            duration((self._total_steps - step) / speed),
        )

    def after_evaluation(self, step: int, evaluation: "Evaluation") -> None:
        """Reports an evaluation during training, with its pictures."""
        if not self._active:
            return
        for name, means in (("model", evaluation.model), ("composite", evaluation.composite)):
            for metric in ("MSE", "fMSE", "PSNR"):
                self._write(f"evaluation/{metric}_{name}", means["All"][metric], step)
        if self._writer and evaluation.examples:
            sheet = example_sheet(evaluation.examples)
            self._writer.add_image("evaluation/examples", sheet, step, dataformats="HWC")
        table = comparison_table(evaluation.model, evaluation.composite)
        _LOGGER.info("After step %d:\n%s", step, table)

    @contextmanager
    def paused(self, metrics: Mapping[str, jax.Array]) -> Iterator[None]:
        """Keeps the time spent inside out of images/s; waits for the step of `metrics` first."""
        jax.block_until_ready(metrics)
        start = time.monotonic()
        yield
        self._since += time.monotonic() - start

    def close(self) -> None:
        if self._writer:
            self._writer.close()

    def _write(self, name: str, value: float, step: int) -> None:
        if self._writer:
            self._writer.add_scalar(name, value, step)


def duration(seconds: float) -> str:
    """Such as 45 s, 12 min or 3 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
