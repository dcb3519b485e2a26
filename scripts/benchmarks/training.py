"""`benchmark.py train`: the real training loop, data included."""

import time
from typing import Any

import jax
from ml_collections import ConfigDict

from benchmarks.timing import in_new_process, peak_memory
from configs import model
from harmony_jax.data.sources import Selection, Source
from harmony_jax.data.splits import open_split
from harmony_jax.data.training_data import TrainingData
from harmony_jax.devices.compilation_cache import keep_compiled_programs
from harmony_jax.devices.host_memory import keep_freed_memory
from harmony_jax.devices.mesh import create_mesh
from harmony_jax.training.setup import set_up

_UNTIMED = 3  # steps: compilation, and what is made ready beforehand


def measure_apart(
    name: str, root: str, dtype: str, batch_size: int, placement: str, steps: int
) -> None:
    """As `measure`, in a process of its own: peak memory counts from the start."""
    in_new_process(
        "train",
        f"--names={name}",
        f"--root={root}",
        f"--dtype={dtype}",
        f"--batches={batch_size}",
        f"--placements={placement}",
        f"--steps={steps}",
    )


def measure(name: str, root: str, dtype: str, batch_size: int, placement: str, steps: int) -> None:
    """Trains some steps as `main.py` does, and prints images/s and the share of time waiting.

    Args:
        name: of the config.
        root: iHarmony4, downloaded or prepared; its samples repeat if they do not fill a batch.
        dtype: to compute in.
        batch_size: images over all devices.
        placement: `data.placement`.
        steps: to time.
    """
    keep_freed_memory()
    keep_compiled_programs()
    config = _config(name, root, dtype, batch_size, placement)
    source = _at_least(open_split(config.data, "train"), batch_size)
    mesh = create_mesh()
    training = set_up(config, mesh, len(source))
    state = training.begin()
    begun = time.perf_counter()
    data = TrainingData(source, config, mesh, 0)
    metrics: dict[str, Any] = {}

    def run(count: int) -> None:
        nonlocal state, metrics
        for _ in range(count):
            before = metrics
            state, metrics = training.step(state, data.next(before))
            jax.block_until_ready(before)
        jax.block_until_ready(metrics)

    run(_UNTIMED)
    start, waited = time.perf_counter(), data.seconds_waited
    run(steps)
    seconds = time.perf_counter() - start
    waited = data.seconds_waited - waited
    memory = peak_memory() / 2**30
    data.close()
    print(
        f"{name}, {dtype}, {batch_size} images a step on {mesh.size} device(s) "
        f"({jax.devices()[0].device_kind}), data {placement}: "
        f"{batch_size * steps / seconds:.1f} images/s, {waited / seconds:.2%} of the time waiting "
        f"for data, peak memory {memory:.2f} GiB, first steps after {start - begun:.0f} s",
        flush=True,
    )


def _config(name: str, root: str, dtype: str, batch_size: int, placement: str) -> ConfigDict:
    config = model.get_config(name)
    config.data.root = root
    config.data.placement = placement
    config.data.validation_fraction = 0.0
    config.model.dtype = dtype
    config.train.batch_size = batch_size
    return config


def _at_least(source: Source, count: int) -> Source:
    if len(source) >= count:
        return source
    return Selection(source, [index % len(source) for index in range(count)])
