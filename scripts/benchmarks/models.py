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

from benchmarks.released import released_loss, released_model
from benchmarks.timing import Run, in_turns, shown
from harmony_jax.build import EVALUATION_PRECISION, TRAINING_PRECISION
from harmony_jax.devices.host_memory import keep_freed_memory
from harmony_jax.losses import foreground_normalized_mse
from harmony_jax.models import create_model, released_image_size
from harmony_jax.models.arithmetic import set_precision
from harmony_jax.variables import Variables, split


def measure(arguments: argparse.Namespace) -> None:
    """Prints the times of each model at each batch size."""
    if not arguments.default_allocator:
        keep_freed_memory()
    dtype, clone = arguments.dtype, arguments.released
    print(f"{jax.devices()[0].device_kind}, {jax.device_count()} device(s), {dtype}; ms an image")
    for name in arguments.names:
        for batch in arguments.batches:
            theirs = _released(clone, name, batch) if clone else {}
            for kind, (function, inputs) in _passes(name, batch, dtype).items():
                start = time.perf_counter()
                compiled = jax.jit(function).lower(*inputs).compile()
                seconds = time.perf_counter() - start
                runs: dict[str, Run] = {"ours": partial(_run, compiled, inputs)}
                if kind in theirs:
                    runs["PyTorch"] = theirs[kind]
                times = in_turns(runs, arguments.rounds)
                cells = [f"{side} {shown(found, 1e3 / batch)}" for side, found in times.items()]
                if clone:
                    medians = [statistics.median(found) for found in times.values()]
                    cells.append(f"ratio {medians[0] / medians[1]:.2f}")
                cells.append(f"compiled in {seconds:.1f} s")
                print(f"{name} batch {batch} {kind}: {', '.join(cells)}", flush=True)


def _passes(
    name: str, batch: int, dtype: str
) -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
    """The passes and their arguments, each in the precision that it has in use.

    At batch 1 there is no backward pass, as a 1x1 bottleneck has no statistics then.
    """
    rng = np.random.default_rng(0)
    side = released_image_size(name)
    shape = (batch, side, side)
    image, target = (jnp.asarray(rng.standard_normal((*shape, 3)), jnp.float32) for _ in range(2))
    mask = jnp.asarray(rng.random((*shape, 1)) > 0.5, jnp.float32)
    model = create_model(
        name, rngs=nnx.Rngs(0), dtype=jnp.dtype(dtype), precision=TRAINING_PRECISION
    )
    training_graph, variables = split(model)
    model.eval()
    set_precision(model, EVALUATION_PRECISION)
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
    return passes


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
