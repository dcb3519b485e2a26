"""`benchmark.py step`: compile time and memory of the whole training step."""

import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from benchmarks.timing import in_new_process, peak_memory
from configs import base
from harmony_jax.devices.host_memory import keep_freed_memory
from harmony_jax.devices.mesh import create_mesh
from harmony_jax.losses import foreground_normalized_mse
from harmony_jax.models import create_model, released_image_size
from harmony_jax.training.optimizer import create_optimizer
from harmony_jax.training.step import create_state, make_train_step

BATCH = 16  # images


def measure_apart(name: str, dtype: str, batch_size: int) -> None:
    """As `measure`, in a process of its own: peak memory counts from the start."""
    in_new_process("step", f"--names={name}", f"--dtype={dtype}", f"--batches={batch_size}")


def measure(name: str, dtype: str, batch_size: int) -> None:
    """Compiles the training step and runs it three times, in this process."""
    keep_freed_memory()
    optimizer = create_optimizer(base.get_config().optimizer, optax.constant_schedule(1e-3))
    mesh = create_mesh()
    start = time.perf_counter()
    graph, state = create_state(
        create_model(name, rngs=nnx.Rngs(0), dtype=jnp.dtype(dtype)), optimizer, mesh
    )
    created = time.perf_counter()
    loss = partial(foreground_normalized_mse, min_area=100.0)
    step: Any = make_train_step(graph, state, loss, optimizer, mesh)
    side = released_image_size(name)
    shape = (batch_size, side, side)
    batch = {key: jnp.ones((*shape, 3), jnp.uint8) for key in ("composite", "real")}
    batch["mask"] = jnp.ones(shape, jnp.uint8)
    compiling = time.perf_counter()
    compiled = step.lower(state, batch).compile()
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
