"""Measures speed and memory; docs/performance.md keeps the results.

    python scripts/benchmark.py models [--names=improved_dih256,...|all] [--released=CLONE]
    python scripts/benchmark.py step [--names=improved_dih256,...|all]
    python scripts/benchmark.py input --root=IHARMONY4

`models` prints, for each model, compile seconds and ms an image, forward and forward+backward,
and what `step` prints: compile seconds and peak memory of the whole training step, in a process of
its own. `--released` names a clone of the authors' PyTorch repository (needs torch and
tensorboard): its model is timed in turns with ours, in one run, and the ratio printed. Times are
medians; the least is in brackets.
"""

import argparse
import copy
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from ml_collections import ConfigDict

from harmony_jax.data.iharmony4 import IHarmony4Source
from harmony_jax.data.pipeline import training_batches
from harmony_jax.data.transforms import RandomCropAndFlip, random_crop, resize
from harmony_jax.host_memory import keep_freed_memory
from harmony_jax.losses import foreground_normalized_mse
from harmony_jax.mesh import create_mesh
from harmony_jax.models import (
    HarmonizationModel,
    create_model,
    list_models,
    released_image_size,
)
from harmony_jax.optimizer import create_optimizer
from harmony_jax.train_step import create_state, make_train_step
from harmony_jax.variables import Variables, split

_IMAGE_SIZE = 256  # of the input pipeline

Run = Callable[[], Any]


def main() -> None:
    """Parses the command and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("models", "step"):
        command = commands.add_parser(name)
        command.add_argument("--names", default="improved_dih256,hrnet18s_idih256")
        command.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    commands.choices["models"].add_argument("--batches", default="1,8")
    commands.choices["models"].add_argument("--rounds", type=int, default=7)
    commands.choices["models"].add_argument("--released", type=Path)
    commands.choices["models"].add_argument(
        "--default-allocator", action="store_true", help="leave glibc's allocator as it is"
    )
    commands.choices["step"].add_argument("--batch", type=int, default=16)
    commands.choices["step"].add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    command = commands.add_parser("input")
    command.add_argument("--root", required=True)
    command.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    {"models": _models, "step": _step, "input": _input}[arguments.command](arguments)


def _models(arguments: argparse.Namespace) -> None:
    if not arguments.default_allocator:
        keep_freed_memory()
    dtype = arguments.dtype
    print(f"{jax.devices()[0].device_kind}, {jax.device_count()} device(s), {dtype}; ms an image")
    for name in _names(arguments):
        for batch in (int(size) for size in arguments.batches.split(",")):
            runs, seconds = _ours(name, batch, dtype)
            contenders = {kind: {"ours": run} for kind, run in runs.items()}
            if arguments.released:
                for kind, run in _released(arguments.released, name, batch).items():
                    if kind in contenders:
                        contenders[kind]["PyTorch"] = run
            for kind, both in contenders.items():
                _print_times(f"{name} batch {batch} {kind}", both, batch, arguments.rounds)
                print(f"{name} batch {batch} {kind} compile: {seconds[kind]:.1f} s", flush=True)
        _in_new_process("step", f"--names={name}", f"--dtype={dtype}", "--here")


def _names(arguments: argparse.Namespace) -> list[str]:
    return list_models() if arguments.names == "all" else arguments.names.split(",")


def _ours(name: str, batch: int, dtype: str = "float32") -> tuple[dict[str, Run], dict[str, float]]:
    """The compiled forward and forward+backward pass, and the seconds that each took to compile.

    The latter is left out at batch 1, where a 1x1 bottleneck has no statistics.
    """
    rng = np.random.default_rng(0)
    side = released_image_size(name)
    shape = (batch, side, side)
    image, target = (jnp.asarray(rng.standard_normal((*shape, 3)), jnp.float32) for _ in range(2))
    mask = jnp.asarray(rng.random((*shape, 1)) > 0.5, jnp.float32)
    model = _create(name, dtype)
    training_graph, variables = split(model)
    model.eval()
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


def _create(name: str, dtype: str) -> HarmonizationModel:
    return create_model(name, rngs=nnx.Rngs(0), dtype=jnp.dtype(dtype))


def _released(clone: Path, name: str, batch: int) -> dict[str, Run]:
    """The authors' model, forward without gradients and forward+backward."""
    sys.path.insert(0, str(clone))
    np.int = int  # type: ignore[attr-defined]  # their code is older than NumPy 1.24
    import torch
    from iharm.mconfigs import ALL_MCONFIGS

    if name not in ALL_MCONFIGS:
        sys.exit(f"error: {clone} has no configuration {name}: choose {', '.join(ALL_MCONFIGS)}")
    config = copy.deepcopy(ALL_MCONFIGS[name])  # making a model changes it
    model = config["model"](**config["params"])
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
        square = (model(image, mask)["images"] - target) ** 2
        (square.sum((1, 2, 3)) / (3 * mask.sum((1, 2, 3)).clamp(min=100))).mean().backward()

    return {"forward": forward, "forward+backward": backward}


def _print_times(title: str, contenders: dict[str, Run], batch: int, rounds: int) -> None:
    """Times the contenders in turns, so that a slow minute of the machine hits them alike."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for run in contenders.values():
        run()
        run()
    for _ in range(rounds):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - start) * 1e3 / batch)
    cells = [f"{n} {statistics.median(t):.1f} ({min(t):.1f})" for n, t in times.items()]
    if len(times) > 1:
        ours, theirs = (statistics.median(t) for t in times.values())
        cells.append(f"ratio {ours / theirs:.2f}")
    print(f"{title}: {', '.join(cells)}", flush=True)


def _step(arguments: argparse.Namespace) -> None:
    """Compiles the training step and runs it three times, each model in a fresh process."""
    for name in _names(arguments):
        if arguments.here:
            _measure_step(name, arguments.batch, arguments.dtype)
        else:
            flags = (f"--names={name}", f"--dtype={arguments.dtype}", f"--batch={arguments.batch}")
            _in_new_process("step", *flags, "--here")


def _measure_step(name: str, batch_size: int, dtype: str) -> None:
    keep_freed_memory()
    optimizer = create_optimizer(base.get_config().optimizer, optax.constant_schedule(1e-3))
    mesh = create_mesh()
    start = time.perf_counter()
    graph, state = create_state(_create(name, dtype), optimizer, mesh)
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
    memory = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    if memory is None:  # a CPU: that of the process
        status = Path("/proc/self/status").read_text()
        memory = int(status.partition("VmHWM:")[2].split()[0]) * 2**10
    print(
        f"{name} training step of {batch_size} images, {dtype}: created in "
        f"{created - start:.1f} s, compiled in {seconds:.1f} s, peak memory "
        f"{memory / 2**30:.2f} GiB",
        flush=True,
    )


def _in_new_process(*arguments: str) -> None:
    subprocess.run([sys.executable, __file__, *arguments], check=True)


def _input(arguments: argparse.Namespace) -> None:
    cv2.setNumThreads(1)
    source = IHarmony4Source(arguments.root, "train")
    augment = RandomCropAndFlip(_IMAGE_SIZE)
    rng = np.random.default_rng(0)

    def ours() -> None:
        for index in range(len(source)):
            augment.random_map(source[index], rng)

    def plain() -> None:
        for record in source.records:
            composite, real = (
                cv2.cvtColor(np.asarray(cv2.imread(str(path))), cv2.COLOR_BGR2RGB)
                for path in (record.composite, record.real)
            )
            mask = np.asarray(cv2.imread(str(record.mask)))[:, :, 0].astype(np.float32) / 255
            top, left, height, width = random_crop(*mask.shape[:2], rng=rng)
            window = (slice(top, top + height), slice(left, left + width))
            for pixels in (composite, real, mask):
                resize(pixels[window], _IMAGE_SIZE)

    rates: dict[str, list[float]] = {"ours": [], "plain OpenCV": []}
    ours()
    for _ in range(arguments.rounds):
        for name, run in (("ours", ours), ("plain OpenCV", plain)):
            start = time.perf_counter()
            run()
            rates[name].append(len(source) / (time.perf_counter() - start))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    cells = [f"{name} {medians[name]:.0f} ({max(values):.0f})" for name, values in rates.items()]
    ratio = medians["ours"] / medians["plain OpenCV"]
    print(f"samples/s on one core: {', '.join(cells)}, ratio {ratio:.2f}")

    batches = training_batches(
        source,
        image_size=_IMAGE_SIZE,
        batch_size=16,
        seed=0,
        start_step=0,
        num_workers=-1,
    )
    for _ in range(8):
        next(batches)
    start = time.perf_counter()
    count = 64
    for _ in range(count):
        next(batches)
    rate = 16 * count / (time.perf_counter() - start)
    batches.close()
    print(f"samples/s of the whole pipeline, a worker process a core: {rate:.0f}")


if __name__ == "__main__":
    main()
