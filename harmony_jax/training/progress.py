"""What a person sees of a running training: the progress line, curves, pictures and texts."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import jax
import optax
from ml_collections import ConfigDict

from harmony_jax.evaluation.picture_sheet import example_sheet
from harmony_jax.evaluation.tables import comparison_table
from harmony_jax.training.writers import Writer

if TYPE_CHECKING:
    from harmony_jax.evaluation.evaluator import Evaluation


TENSORBOARD = "tensorboard"  # folder of the workdir

_NORMS = ("gradient_norm", "parameter_norm", "update_norm")

_LOGGER = logging.getLogger(__name__)


class Progress:
    """Prints a line and writes scalars every so many steps, on the first process only.

    Args:
        writers: get the curves and pictures.
        start_step: steps already done.
        total_steps: steps of the whole training.
        config: batch size, epochs and `train.log_every_steps`.
        schedule: the learning rate by steps already done.
        rates: names of the rates that parameters learn at, each times the learning rate.
    """

    def __init__(
        self,
        writers: Sequence[Writer],
        start_step: int,
        total_steps: int,
        config: ConfigDict,
        schedule: optax.Schedule,
        rates: Mapping[str, float],
    ):
        self._active = jax.process_index() == 0 and start_step < total_steps
        self._writers = tuple(writers) if self._active else ()
        self._total_steps = total_steps
        self._steps_per_epoch = total_steps / config.train.epochs
        self._epochs = config.train.epochs
        self._batch_size = config.train.batch_size
        self._every = config.train.log_every_steps
        self._schedule = schedule
        self._rates = rates
        self._first_step = start_step + 1
        self._step = start_step
        self._since = time.monotonic()
        self._waited = 0.0

    def at_start(self, texts: Mapping[str, str]) -> None:
        """Writes what describes the run, such as its config, by name."""
        for writer in self._writers:
            for name, text in texts.items():
                writer.text(name, text, self._step)

    def after_step(
        self, step: int, metrics: Mapping[str, jax.Array], seconds_waited: float
    ) -> None:
        """Reports a step's scalars if it is its turn; else leaves the device undisturbed.

        Args:
            step: steps done.
            metrics: scalars of the step.
            seconds_waited: since the start of the training, for data.
        """
        if not self._active:
            return
        if step == self._first_step:  # Compilation does not count as speed.
            jax.block_until_ready(metrics)
            self._step, self._since, self._waited = step, time.monotonic(), seconds_waited
            return
        if step % self._every and step != self._total_steps:
            return
        scalars = {name: float(metrics[name]) for name in ("loss", *_NORMS)}
        learning_rate = float(self._schedule(step - 1))
        scalars |= {name: factor * learning_rate for name, factor in self._rates.items()}
        now = time.monotonic()
        seconds = max(now - self._since, 1e-9)
        speed = (step - self._step) / seconds
        scalars["images_per_second"] = speed * self._batch_size
        scalars["share_of_time_waiting_for_data"] = (seconds_waited - self._waited) / seconds
        self._step, self._since, self._waited = step, now, seconds_waited
        for name, value in scalars.items():
            self._write(f"train/{name}", value, step)
        _LOGGER.info(
            "step %d/%d (epoch %.1f/%d)  loss %.4f  %.1f images/s (%.0f %% waiting for data)  "
            "%s left",
            step,
            self._total_steps,
            step / self._steps_per_epoch,
            self._epochs,
            scalars["loss"],
            scalars["images_per_second"],
            100 * scalars["share_of_time_waiting_for_data"],
            duration((self._total_steps - step) / speed),
        )

    def after_epoch(self, step: int, unreadable: int) -> None:
        """Reports how many training samples of the epoch could not be read, if any."""
        if self._active and unreadable:
            self._write("train/unreadable_samples", float(unreadable), step)

    def after_evaluation(self, step: int, evaluation: "Evaluation") -> None:
        """Reports an evaluation during training, with its pictures."""
        if not self._active:
            return
        for name, means in (("model", evaluation.model), ("composite", evaluation.composite)):
            for metric in ("MSE", "fMSE", "PSNR"):
                self._write(f"evaluation/{metric}_{name}", means["All"][metric], step)
        if self._writers and evaluation.examples:
            sheet = example_sheet(evaluation.examples)
            for writer in self._writers:
                writer.image("evaluation/examples", sheet, step)
        table = comparison_table(evaluation.model, evaluation.composite)
        _LOGGER.info("After step %d:\n%s", step, table)

    @contextmanager
    def paused(self, metrics: Mapping[str, jax.Array]) -> Iterator[None]:
        """Keeps the time spent inside out of images/s; waits for the step of `metrics` first."""
        jax.block_until_ready(metrics)
        start = time.monotonic()
        yield
        self._since += time.monotonic() - start

    def _write(self, name: str, value: float, step: int) -> None:
        for writer in self._writers:
            writer.scalar(name, value, step)


def duration(seconds: float) -> str:
    """Such as 45 s, 12 min or 3 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
