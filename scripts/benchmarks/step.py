"""`benchmark.py step`: compile time and memory of the whole training step."""

import time

import jax
import jax.numpy as jnp

from benchmarks.timing import in_new_process, peak_memory
from configs import model
from harmony_jax.data.iharmony4 import COMPOSITES
from harmony_jax.devices.host_memory import keep_freed_memory
from harmony_jax.devices.mesh import create_mesh
from harmony_jax.training.setup import set_up

BATCH = 16  # images


def measure_apart(name: str, dtype: str, batch_size: int) -> None:
    """As `measure`, in a process of its own: peak memory counts from the start."""
    in_new_process("step", f"--names={name}", f"--dtype={dtype}", f"--batches={batch_size}")


def measure(name: str, dtype: str, batch_size: int) -> None:
    """Compiles the training step and runs it three times, in this process."""
    keep_freed_memory()
    config = model.get_config(name)
    config.model.dtype = dtype
    config.train.batch_size = batch_size
    start = time.perf_counter()
    training = set_up(config, create_mesh(), COMPOSITES)
    state = training.begin()
    created = time.perf_counter()
    shape = (batch_size, config.data.image_size, config.data.image_size)
    batch = {key: jnp.ones((*shape, 3), jnp.uint8) for key in ("composite", "real")}
    batch["mask"] = jnp.ones(shape, jnp.uint8)
    compiling = time.perf_counter()
    compiled = training.step.lower(state, batch).compile()
    seconds = time.perf_counter() - compiling
    for _ in range(3):
        state, metrics = compiled(state, batch)
    jax.block_until_ready(metrics)
    print(
        f"{name} training step of {batch_size} images, {dtype}: created in "
        f"{created - start:.1f} s, compiled in {seconds:.1f} s, peak memory "
        f"{peak_memory() / 2**30:.2f} GiB",
        flush=True,
    )
