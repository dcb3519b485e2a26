"""`benchmark.py models`: forward and backward passes, beside the released PyTorch code."""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks import step
from benchmarks.released import released_loss, released_model
from benchmarks.timing import Run, in_turns, shown
from harmony_jax.build import EVALUATION_PRECISION, TRAINING_PRECISION
from harmony_jax.devices.host_memory import keep_freed_memory
from harmony_jax.losses import foreground_normalized_mse
from harmony_jax.models import create_model, released_image_size
from harmony_jax.models.arithmetic import set_precision
from harmony_jax.variables import Variables, split


def measure(names: list[str], arguments: argparse.Namespace) -> None:
    """Prints the times of each model, and those of its training step."""
    if not arguments.default_allocator:
        keep_freed_memory()
    dtype = arguments.dtype
    print(f"{jax.devices()[0].device_kind}, {jax.device_count()} device(s), {dtype}; ms an image")
    for name in names:
        for batch in arguments.batches:
            runs, seconds = _ours(name, batch, dtype, arguments.precision)
            contenders = {kind: {"ours": run} for kind, run in runs.items()}
            if arguments.released:
                for kind, run in _released(arguments.released, name, batch).items():
                    if kind in contenders:
                        contenders[kind]["PyTorch"] = run
            for kind, both in contenders.items():
                _print_times(f"{name} batch {batch} {kind}", both, batch, arguments.rounds)
                print(f"{name} batch {batch} {kind} compile: {seconds[kind]:.1f} s", flush=True)
        step.measure_apart(name, dtype, step.BATCH)


def _ours(
    name: str, batch: int, dtype: str = "float32", precision: str | None = None
) -> tuple[dict[str, Run], dict[str, float]]:
    """The compiled forward and forward+backward pass, and the seconds that each took to compile.

    The latter is left out at batch 1, where a 1x1 bottleneck has no statistics. Without a precision
    each is computed as it is in use.
    """
    rng = np.random.default_rng(0)
    side = released_image_size(name)
    shape = (batch, side, side)
    image, target = (jnp.asarray(rng.standard_normal((*shape, 3)), jnp.float32) for _ in range(2))
    mask = jnp.asarray(rng.random((*shape, 1)) > 0.5, jnp.float32)
    model = create_model(
        name,
        rngs=nnx.Rngs(0),
        dtype=jnp.dtype(dtype),
        precision=precision or TRAINING_PRECISION,
    )
    training_graph, variables = split(model)
    model.eval()
    set_precision(model, precision or EVALUATION_PRECISION)
    graph = nnx.graphdef(model)

    def forward(variables: Variables, image: jax.Array, mask: jax.Array) -> Any:
        return nnx.merge(graph, *variables)(image, mask)

    def loss(params: nnx.State, batch_stats: nnx.State) -> jax.Array:
        trained = nnx.merge(training_graph, params, batch_stats, copy=True)
        prediction = trained(image, mask, rngs=nnx.Rngs(0)).image
        return foreground_normalized_mse(prediction, target, mask, min_area=100.0).mean()

    passes: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
        "forward": (forward, (variables, image, mask))
    }
    if batch > 1:
        passes["forward+backward"] = (jax.value_and_grad(loss), tuple(variables))
    runs: dict[str, Run] = {}
    seconds = {}
    for kind, (function, inputs) in passes.items():
        start = time.perf_counter()
        compiled = jax.jit(function).lower(*inputs).compile()
        seconds[kind] = time.perf_counter() - start
        runs[kind] = partial(_run, compiled, inputs)
    return runs, seconds


def _run(compiled: Callable[..., Any], inputs: tuple[Any, ...]) -> None:
    jax.block_until_ready(compiled(*inputs))


def _released(clone: Path, name: str, batch: int) -> dict[str, Run]:
    """The authors' model, forward without gradients and forward+backward."""
    model = released_model(clone, name)
    import torch

    side = released_image_size(name)
    image, target = (torch.randn(batch, 3, side, side) for _ in range(2))
    mask = (torch.rand(batch, 1, side, side) > 0.5).float()

    def forward() -> None:
        model.eval()
        with torch.no_grad():
            model(image, mask)

    def backward() -> None:
        model.train()
        model.zero_grad()
        released_loss(model(image, mask)["images"], target, mask).backward()

    return {"forward": forward, "forward+backward": backward}


def _print_times(title: str, contenders: dict[str, Run], batch: int, rounds: int) -> None:
    for run in contenders.values():
        run()
    times = in_turns(contenders, rounds)
    cells = [f"{name} {shown(seconds, 1e3 / batch)}" for name, seconds in times.items()]
    if len(times) > 1:
        ours, theirs = (statistics.median(seconds) for seconds in times.values())
        cells.append(f"ratio {ours / theirs:.2f}")
    print(f"{title}: {', '.join(cells)}", flush=True)
