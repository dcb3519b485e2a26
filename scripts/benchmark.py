"""Measures speed and memory; docs/performance.md keeps the results.

    python scripts/benchmark.py models [--names=improved_dih256] [--released=CLONE]
    python scripts/benchmark.py memory [--names=improved_dih256]
    python scripts/benchmark.py input --root=IHARMONY4

`--released` names a clone of the authors' PyTorch repository (needs torch and tensorboard): its
model is timed in turns with ours, in one run, and the ratio printed. Times are medians; the
least is in brackets.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from harmony_jax.data.iharmony4 import IHarmony4Source
from harmony_jax.data.pipeline import training_batches
from harmony_jax.data.transforms import RandomCropAndFlip, random_crop, resize
from harmony_jax.host_memory import keep_freed_memory
from harmony_jax.losses import foreground_normalized_mse
from harmony_jax.mesh import create_mesh
from harmony_jax.models import create_model
from harmony_jax.train import create_state, make_train_step
from harmony_jax.variables import split

_IMAGE_SIZE = 256
_MEMORY_BATCH = 16

Run = Callable[[], Any]


def main() -> None:
    """Parses the command and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("models", "memory"):
        command = commands.add_parser(name)
        command.add_argument("--names", default="dih256,improved_dih256")
    commands.choices["models"].add_argument("--batches", default="1,8")
    commands.choices["models"].add_argument("--rounds", type=int, default=7)
    commands.choices["models"].add_argument("--released", type=Path)
    commands.choices["models"].add_argument(
        "--default-allocator", action="store_true", help="leave glibc's allocator as it is"
    )
    commands.choices["memory"].add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    command = commands.add_parser("input")
    command.add_argument("--root", required=True)
    command.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    {"models": _models, "memory": _memory, "input": _input}[arguments.command](arguments)


def _models(arguments: argparse.Namespace) -> None:
    if not arguments.default_allocator:
        keep_freed_memory()
    print(f"{jax.devices()[0].device_kind}, {jax.device_count()} device(s); ms an image")
    for name in arguments.names.split(","):
        for batch in (int(size) for size in arguments.batches.split(",")):
            forward, step, compile_seconds = _ours(name, batch)
            runs = {"forward": {"ours": forward}}
            if batch > 1:  # a 1x1 bottleneck has no statistics over one image
                runs["forward+backward"] = {"ours": step}
            if arguments.released:
                released = _released(arguments.released, name, batch)
                for kind, run in zip(runs, released, strict=False):
                    runs[kind]["PyTorch"] = run
            for kind, contenders in runs.items():
                _print_times(f"{name} batch {batch} {kind}", contenders, batch, arguments.rounds)
            print(f"{name} batch {batch} compile: {compile_seconds:.1f} s")


def _ours(name: str, batch: int) -> tuple[Run, Run, float]:
    """Compiled forward pass and forward+backward pass, and the seconds to compile both."""
    rng = np.random.default_rng(0)
    shape = (batch, _IMAGE_SIZE, _IMAGE_SIZE)
    image, target = (jnp.asarray(rng.standard_normal((*shape, 3)), jnp.float32) for _ in range(2))
    mask = jnp.asarray(rng.random((*shape, 1)) > 0.5, jnp.float32)
    model = create_model(name, rngs=nnx.Rngs(0))
    training_graph, variables = split(model)
    params = variables.params
    model.eval()
    graph = nnx.graphdef(model)

    def loss(params: nnx.State) -> jax.Array:
        trained = nnx.merge(training_graph, params, variables.batch_stats, copy=True)
        prediction = trained(image, mask).image
        return foreground_normalized_mse(prediction, target, mask, min_area=100.0).mean()

    start = time.perf_counter()
    forward = (
        jax.jit(lambda v, i, m: nnx.merge(graph, *v)(i, m)).lower(variables, image, mask).compile()
    )
    backward = jax.jit(jax.value_and_grad(loss)).lower(params).compile()
    seconds = time.perf_counter() - start
    return (
        lambda: jax.block_until_ready(forward(variables, image, mask)),
        lambda: jax.block_until_ready(backward(params)),
        seconds,
    )


def _released(clone: Path, name: str, batch: int) -> tuple[Run, Run]:
    """The authors' model, forward without gradients and forward+backward."""
    sys.path.insert(0, str(clone))
    import torch
    from iharm.mconfigs import ALL_MCONFIGS

    model = ALL_MCONFIGS[name]["model"](**ALL_MCONFIGS[name]["params"])
    image, target = (torch.randn(batch, 3, _IMAGE_SIZE, _IMAGE_SIZE) for _ in range(2))
    mask = (torch.rand(batch, 1, _IMAGE_SIZE, _IMAGE_SIZE) > 0.5).float()

    def forward() -> None:
        model.eval()
        with torch.no_grad():
            model(image, mask)

    def backward() -> None:
        model.train()
        model.zero_grad()
        square = (model(image, mask)["images"] - target) ** 2
        (square.sum((1, 2, 3)) / (3 * mask.sum((1, 2, 3)).clamp(min=100))).mean().backward()

    return forward, backward


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


def _memory(arguments: argparse.Namespace) -> None:
    """Peak resident memory of a training process after three steps, each in a fresh process."""
    for name in arguments.names.split(","):
        if not arguments.here:
            command = [sys.executable, __file__, "memory", f"--names={name}", "--here"]
            subprocess.run(command, check=True)
            continue
        keep_freed_memory()
        optimizer = optax.adam(1e-3)
        mesh = create_mesh()
        graph, state = create_state(create_model(name, rngs=nnx.Rngs(0)), optimizer, mesh)
        step = make_train_step(
            graph,
            lambda *images: foreground_normalized_mse(*images, min_area=100.0),
            optimizer,
            mesh,
        )
        shape = (_MEMORY_BATCH, _IMAGE_SIZE, _IMAGE_SIZE)
        batch = {key: jnp.ones((*shape, 3), jnp.uint8) for key in ("composite", "real")}
        batch["mask"] = jnp.ones(shape, jnp.uint8)
        for _ in range(3):
            state, metrics = step(state, batch)
        jax.block_until_ready(metrics)
        status = Path("/proc/self/status").read_text()
        peak = int(status.partition("VmHWM:")[2].split()[0]) / 2**20
        print(f"{name}, training step of {_MEMORY_BATCH} images: peak {peak:.2f} GiB")


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
