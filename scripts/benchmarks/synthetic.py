"""`benchmark.py train --synthetic`: the training step alone, its data on the device."""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.released import released_configurations, released_loss, released_model
from benchmarks.timing import Run, in_new_process, in_turns
from configs import model as model_config
from harmony_jax.data.iharmony4 import COMPOSITES
from harmony_jax.devices.gpu_trace import read_trace
from harmony_jax.devices.host_memory import keep_freed_memory
from harmony_jax.devices.mesh import create_mesh, to_devices
from harmony_jax.models import released_image_size
from harmony_jax.planning import gpu_program
from harmony_jax.planning.chips import chip_of
from harmony_jax.planning.hlo import bytes_moved, operations
from harmony_jax.training.setup import set_up

COLUMNS = (
    *("model", "type", "batch", "by", "images/s", "ms a step", "host ms a call", "device busy, ms"),
    *("kernels", "launches", "arithmetic", "bytes", "created, s", "compiled, s", "GiB", "device"),
)
_CALLS = 10  # to time on the host
_TRACED = 2  # steps
_TILE = 16  # pixels of one colour: masks and pictures are neither noise nor flat
_GIB = 2**30


class _Contender(NamedTuple):
    """One side of the comparison.

    Attributes:
        call: a step, not waited for.
        wait: for all that was called.
        cells: of its row, by column; what it does not say is `-`.
    """

    call: Callable[[], None]
    wait: Callable[[], None]
    cells: dict[str, str]


def measure_apart(name: str, batch_size: int, arguments: argparse.Namespace) -> None:
    """As `measure`, in a process of its own, with the device's memory to itself."""
    in_new_process(
        *("train", "--synthetic", f"--names={name}", f"--dtype={arguments.dtype}"),
        *(f"--batches={batch_size}", f"--steps={arguments.steps}", f"--rounds={arguments.rounds}"),
        *([f"--released={arguments.released}"] if arguments.released else []),
        *(f"--compiler_option={option}" for option in arguments.compiler_option),
    )


def print_header() -> None:
    """The table's first two lines, in Markdown."""
    _print_row(COLUMNS)
    _print_row(["---"] * len(COLUMNS))


def measure(name: str, batch_size: int, arguments: argparse.Namespace) -> None:
    """Prints a row for the project, and with `released` two for PyTorch, run in turns.

    Args:
        name: of the config.
        batch_size: images over all devices.
        arguments: `dtype`, `steps` in a round, `rounds`, `released` and `compiler_option`.
    """
    keep_freed_memory()
    if arguments.released:  # both on one device: JAX takes what it needs alone
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    options = arguments.compiler_option
    title = " ".join([f"jax {jax.__version__}", *options])
    makers = {title: partial(_ours, name, batch_size, arguments.dtype, options)}
    if arguments.released:
        released_configurations(arguments.released, name)
        _check_device_of_pytorch()
        for title, compiled in (("PyTorch", False), ("PyTorch, compiled", True)):
            makers[title] = partial(
                _released, arguments.released, name, batch_size, arguments.dtype, compiled
            )
    contenders: dict[str, _Contender] = {}
    for title, make in makers.items():
        try:
            contenders[title] = make()
        except Exception as error:  # such as no memory: the others' rows are still wanted
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            print(f"{name}, batch {batch_size}, {title}: left out, {reason}", file=sys.stderr)
    runs: dict[str, Run] = {
        title: partial(_run, contender, arguments.steps) for title, contender in contenders.items()
    }
    times = in_turns(runs, arguments.rounds)
    for title, contender in contenders.items():
        steps = [seconds / arguments.steps for seconds in times[title]]
        rates = [batch_size / seconds for seconds in steps]
        cells = {
            **{"model": f"`{name}`", "type": arguments.dtype, "batch": str(batch_size)},
            **{"by": title, "device": jax.devices()[0].device_kind},
            "images/s": f"{statistics.median(rates):,.1f} ({max(rates):,.1f})",
            "ms a step": f"{statistics.median(steps) * 1e3:.2f}",
            "host ms a call": f"{_host_milliseconds(contender):.2f}",
            **contender.cells,
        }
        for floor in ("arithmetic", "bytes"):
            cells[floor] = _share(cells.get(floor, "-"), statistics.median(steps))
        _print_row([cells.get(column, "-") for column in COLUMNS])


def _run(contender: _Contender, steps: int) -> None:
    for _ in range(steps):
        contender.call()
    contender.wait()


def _host_milliseconds(contender: _Contender) -> float:
    """How long a call takes to return, with nothing before it in the queue."""
    seconds = []
    for _ in range(_CALLS):
        contender.wait()
        start = time.perf_counter()
        contender.call()
        seconds.append(time.perf_counter() - start)
    contender.wait()
    return 1e3 * statistics.median(seconds)


def _share(floor: str, step: float) -> str:
    """A floor of so many ms, with its share of the step; other texts stay."""
    number, _, unit = floor.partition(" ")
    return f"{floor} ({float(number) / 1e3 / step:.0%})" if unit == "ms" else floor


def _ours(name: str, batch_size: int, dtype: str, options: list[str]) -> _Contender:
    with tempfile.TemporaryDirectory() as folder:
        dump = [f"{gpu_program.DUMP}={folder}"] if jax.default_backend() == "gpu" else []
        contender = _our_step(name, batch_size, dtype, options + dump)
        launches = gpu_program.launches(Path(folder), "train_step")
    if launches is None:
        return contender
    text = f"{launches.graphs + launches.alone:,}, {launches.graphs:,} of graphs"
    return contender._replace(cells={**contender.cells, "launches": text})


def _our_step(name: str, batch_size: int, dtype: str, options: list[str]) -> _Contender:
    config = model_config.get_config(name)
    config.model.dtype = dtype
    config.train.batch_size = batch_size
    config.train.compiler_options = tuple(options)
    start = time.perf_counter()
    mesh = create_mesh()
    training = set_up(config, mesh, COMPOSITES)
    state: Any = jax.block_until_ready(training.begin())
    created = time.perf_counter() - start
    batch = to_devices(_batch(batch_size, config.data.image_size), mesh)
    start = time.perf_counter()
    compiled = training.step.lower(state, batch).compile()  # which the calls then use
    seconds = time.perf_counter() - start
    metrics: Any = None

    def call() -> None:
        nonlocal state, metrics
        state, metrics = training.step(state, batch)

    def wait() -> None:
        jax.block_until_ready((state, metrics))

    contender = _Contender(call, wait, {})
    _run(contender, 1)
    memory: Any = compiled.memory_analysis()
    planned = (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
    )
    cells = {
        "created, s": f"{created:.1f}",
        "compiled, s": f"{seconds:.1f}",
        "GiB": f"{planned / _GIB:.2f}",
        **_program_cells(compiled, dtype, batch_size // mesh.size),
        **_traced_cells(contender),
    }
    return contender._replace(cells=cells)


def _program_cells(compiled: jax.stages.Compiled, dtype: str, images: int) -> dict[str, str]:
    """What the compiled program says: kernels, and floors where the chip's peaks are known."""
    program = operations(compiled.as_text() or "")
    cost: Any = compiled.cost_analysis()
    flops = cost["flops"] if cost else gpu_program.product_flops(program)
    moved = bytes_moved(program)
    count = sum(gpu_program.kernels(program).values())
    cells = {"kernels": f"{count:,} in the program"}
    if (chip := chip_of(jax.devices()[0].device_kind)) is None:
        return cells | {
            "arithmetic": f"{flops / images / 1e9:.1f} GFLOP an image",
            "bytes": f"{moved / images / 1e6:.0f} MB an image",
        }
    return cells | {
        "arithmetic": f"{1e3 * flops / chip.peak(dtype):.2f} ms",
        "bytes": f"{1e3 * moved / chip.bandwidth:.2f} ms",
    }


def _traced_cells(contender: _Contender) -> dict[str, str]:
    """What a trace of a GPU says; nothing elsewhere."""
    if jax.default_backend() != "gpu":
        return {}
    _run(contender, _TRACED)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            _run(contender, _TRACED)
        trace = read_trace(Path(folder), _TRACED)
    if trace is None or not trace.kernels:
        print("The trace holds no kernels; their number is that of the program.", file=sys.stderr)
        return {}
    return {"kernels": f"{trace.kernels:,.0f}", "device busy, ms": f"{1e3 * trace.busy:.2f}"}


def _batch(batch_size: int, side: int) -> dict[str, np.ndarray]:
    """Pictures of coarse random tiles, recoloured in three tenths of them."""
    rng = np.random.default_rng(0)
    tiles = max(side // _TILE, 1)
    shape = (batch_size, tiles, tiles)
    real = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    mask = (rng.random(shape) > 0.7).astype(np.uint8) * 255
    composite = np.where(mask[..., None] > 0, real // 2, real)
    return {
        key: tile.repeat(side // tiles, 1).repeat(side // tiles, 2)
        for key, tile in {"composite": composite, "real": real, "mask": mask}.items()
    }


def _check_device_of_pytorch() -> None:
    import torch

    if (jax.default_backend() == "gpu") != torch.cuda.is_available():
        sys.exit(
            f"error: JAX computes on {jax.devices()[0].device_kind}, PyTorch "
            f"{'on a GPU' if torch.cuda.is_available() else 'on the CPU'}: install both for the "
            "same device"
        )


def _released(clone: Path, name: str, batch_size: int, dtype: str, compiled: bool) -> _Contender:
    """The authors' model as PyTorch trains it fastest: autocast, channels_last, fused Adam."""
    start = time.perf_counter()
    model = released_model(clone, name)
    import torch

    on_gpu = torch.cuda.is_available()
    device = "cuda" if on_gpu else "cpu"
    torch.backends.cudnn.benchmark = True
    # As JAX multiplies float32 by default on a GPU.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    model = model.to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    pixels = _batch(batch_size, released_image_size(name))
    image, target = (
        torch.from_numpy(pixels[key].transpose(0, 3, 1, 2) / np.float32(127.5) - 1).to(
            device, memory_format=torch.channels_last
        )
        for key in ("composite", "real")
    )
    mask = torch.from_numpy(pixels["mask"][:, None] / np.float32(255)).to(device)
    forward = torch.compile(model) if compiled else model

    def call() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
            output = forward(image, mask)["images"]
        optimizer.zero_grad(set_to_none=True)
        released_loss(output, target, mask).backward()
        optimizer.step()

    def wait() -> None:
        if on_gpu:
            torch.cuda.synchronize()

    contender = _Contender(call, wait, {})
    created = time.perf_counter() - start
    start = time.perf_counter()
    _run(contender, 1)
    first = time.perf_counter() - start
    cells = {"by": f"PyTorch {torch.__version__}", "created, s": f"{created:.1f}"}
    if compiled:
        cells |= {"by": f"{cells['by']}, compiled", "compiled, s": f"{first:.1f}"}
    if on_gpu:
        cells["GiB"] = f"{torch.cuda.max_memory_allocated() / _GIB:.2f}"
    return contender._replace(cells=cells)


def _print_row(cells: Any) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)
