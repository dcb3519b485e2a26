"""What a person sees of a running training: the progress line, curves, pictures and texts."""

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from harmony_jax.evaluation.evaluator import Evaluation
from harmony_jax.evaluation.picture_sheet import example_sheet
from harmony_jax.evaluation.tables import TextTable, as_text, comparison_table
from harmony_jax.training.freezing import parameter_name
from harmony_jax.training.optimizer import (
    BASE_BATCH_SIZE,
    batch_factor,
    learning_rates,
    rate_labels,
)
from harmony_jax.training.setup import Training
from harmony_jax.training.writers import TENSORBOARD, TensorBoardWriter, Writer

_METRICS = ("MSE", "fMSE", "PSNR")
_STEPS_BEFORE_TRACE = 10  # compilation and queues that fill are not worth a trace

_LOGGER = logging.getLogger(__name__)


class Progress:
    """Prints a line and writes scalars every so many steps, on the first process only.

    Curves, pictures and texts go to TensorBoard files in the workdir and to the given writers.
    """

    def __init__(
        self, training: Training, start_step: int, workdir: Path, writers: Sequence[Writer]
    ):
        self._training, self._config = training, training.config
        self._total_steps = training.total_steps
        self._active = jax.process_index() == 0 and start_step < self._total_steps
        self._writers: tuple[Writer, ...] = ()
        self._tensorboard: TensorBoardWriter | None = None
        params = training.layout.trees.variables.params
        self._rates = learning_rates(self._config.optimizer, params)
        self._first_step = start_step + 1
        self._step = start_step
        self._since = time.monotonic()
        self._waited = 0.0
        if self._active:
            tensorboard = self._tensorboard = TensorBoardWriter(workdir / TENSORBOARD, start_step)
            self._writers = (tensorboard, *writers)
            names = ["train/loss", *(f"evaluation/{name}_model" for name in _METRICS)]
            tensorboard.hyperparameters(flatten_dict(self._config.to_dict(), sep="."), names)
            self._at_start(params)

    def close(self) -> None:
        """Closes TensorBoard's files; the given writers stay open."""
        if self._tensorboard:
            self._tensorboard.close()

    def _at_start(self, params: Any) -> None:
        """Logs what is trained, and writes the texts that describe the run."""
        config = self._config
        table = parameter_table(params, config.optimizer)
        devices = self._training.mesh.size
        _LOGGER.info("%s on %d device(s)\n%s", config.model.name, devices, table)
        if (factor := batch_factor(config)) != 1:
            _LOGGER.info(
                f"Learning rate {factor * config.optimizer.learning_rate:g}, {factor:.4g} times "
                f"optimizer.learning_rate: {config.train.batch_size} images per step instead of "
                f"{BASE_BATCH_SIZE} (optimizer.batch_rule {config.optimizer.batch_rule})"
            )
        values = flatten_dict(config.to_dict(), sep=".")
        fields = "\n".join(f"{name} = {value!r}" for name, value in values.items())
        for writer in self._writers:
            writer.text("config", fields, self._step)
            writer.text("model", table, self._step)

    def after_step(
        self, step: int, metrics: Mapping[str, jax.Array], seconds_waited: float
    ) -> None:
        """Reports a step's scalars if it is due; else leaves the device undisturbed.

        `seconds_waited` for data count from the start of the training.
        """
        if not self._active:
            return
        if step == self._first_step:  # compilation does not count as speed
            jax.block_until_ready(metrics)
            self._step, self._since, self._waited = step, time.monotonic(), seconds_waited
            return
        if step % self._config.train.log_every_steps and step != self._total_steps:
            return
        scalars = {name: float(value) for name, value in metrics.items() if name != "halted"}
        learning_rate = float(self._training.schedule(step - 1))
        scalars |= {name: factor * learning_rate for name, factor in self._rates.items()}
        now = time.monotonic()
        seconds = max(now - self._since, 1e-9)
        speed = (step - self._step) / seconds
        scalars["images_per_second"] = speed * self._config.train.batch_size
        waiting = (seconds_waited - self._waited) / seconds
        scalars["share_of_time_waiting_for_data"] = waiting
        self._step, self._since, self._waited = step, now, seconds_waited
        self._write({f"train/{name}": value for name, value in scalars.items()}, step)
        epochs, total = self._config.train.epochs, self._total_steps
        _LOGGER.info(
            f"step {step}/{total} (epoch {step / total * epochs:.1f}/{epochs})  "
            f"loss {scalars['loss']:.4f}  {scalars['images_per_second']:.1f} images/s "
            f"({100 * waiting:.0f} % waiting for data)  {duration((total - step) / speed)} left"
        )

    def after_epoch(self, step: int, unreadable: int) -> None:
        """Reports how many training samples of the epoch could not be read, if any."""
        if unreadable:
            self._write({"train/unreadable_samples": float(unreadable)}, step)

    def after_evaluation(self, step: int, evaluation: Evaluation) -> None:
        """Reports an evaluation during training, with its pictures."""
        if not self._active:
            return
        for name, means in (("model", evaluation.model), ("composite", evaluation.composite)):
            values = {f"evaluation/{metric}_{name}": means["All"][metric] for metric in _METRICS}
            self._write(values, step)
        if self._writers and evaluation.examples:
            sheet = example_sheet(evaluation.examples)
            for writer in self._writers:
                writer.image("evaluation/examples", sheet, step)
        table = comparison_table(evaluation.model, evaluation.composite)
        _LOGGER.info("After step %d:\n%s", step, table)

    @contextmanager
    def paused(self, metrics: Mapping[str, jax.Array]) -> Iterator[None]:
        """Leaves the time spent inside out of images/s; waits for the step of `metrics` first."""
        jax.block_until_ready(metrics)
        start = time.monotonic()
        yield
        self._since += time.monotonic() - start

    def _write(self, scalars: Mapping[str, float], step: int) -> None:
        for writer in self._writers:
            for name, value in scalars.items():
                writer.scalar(name, value, step)


class Trace:
    """Traces some steps on every process for TensorBoard's profiler or Perfetto.

    The trace is written into `plugins/profile/` of a folder.
    """

    def __init__(self, folder: Path, first_step: int, steps: int):
        self._folder = folder
        self._begin = first_step + _STEPS_BEFORE_TRACE
        self._end = self._begin + steps
        self._running = False

    def before_step(self, step: int, computing: Any) -> None:
        """Starts or ends the trace if it is time, once the results being computed are there."""
        if step == self._begin < self._end:
            jax.block_until_ready(computing)
            jax.profiler.start_trace(self._folder)
            self._running = True
        elif step == self._end:
            self.close(computing)

    def close(self, computing: Any = None) -> None:
        """Ends a trace that runs."""
        if self._running:
            jax.block_until_ready(computing)
            jax.profiler.stop_trace()
            self._running = False
            _LOGGER.info("Trace written: %s", self._folder / "plugins" / "profile")


def duration(seconds: float) -> str:
    """Such as 45 s, 12 min or 3 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def parameter_table(params: Any, optimizer: ConfigDict) -> str:
    """A line for each part of the model: its arrays, its parameters and the rate they learn at."""
    rates = {"new": "x 1", "pretrained": f"x {optimizer.backbone_rate:g}", "frozen": "frozen"}
    labels = jax.tree.leaves(rate_labels(params, tuple(optimizer.freeze)))
    leaves = jax.tree_util.tree_leaves_with_path(params)
    rows: dict[tuple[str, str], list[int]] = {}
    for (path, leaf), label in zip(leaves, labels, strict=True):
        part = _part(parameter_name(path))
        rows.setdefault((part, rates[label]), []).append(math.prod(leaf.shape))
    rows["all", ""] = [size for sizes in rows.values() for size in sizes]
    cells = [[part, f"{len(n)}", f"{sum(n):,}", rate] for (part, rate), n in rows.items()]
    return as_text(TextTable("", ["part", "arrays", "parameters", "rate"], cells))


def _part(dotted: str) -> str:
    """The first two names of a path, without the numbers of layers."""
    names = [name for name in dotted.split(".")[:-1] if not name.isdigit()]
    return ".".join(names[:2]) or dotted
