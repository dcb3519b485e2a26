"""`benchmark.py train --synthetic`: the training step alone, with its data on the device."""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.gpu_trace import read_trace
from benchmarks.released import check_device, released_loss, released_model
from benchmarks.timing import in_new_process, in_turns, peak_memory
from configs import model as model_config
from harmony_jax.data.iharmony4 import COMPOSITES
from harmony_jax.devices.host_memory import keep_freed_memory
from harmony_jax.devices.mesh import create_mesh, to_devices
from harmony_jax.models import released_image_size
from harmony_jax.planning import gpu_program
from harmony_jax.planning.chips import chip_of
from harmony_jax.planning.hlo import bytes_moved, operations
from harmony_jax.training.setup import set_up

_COLUMNS = (
    *("model", "type", "batch", "by", "images/s", "ms a step", "host ms a call", "device busy, ms"),
    *("kernels", "launches", "arithmetic", "bytes", "created, s", "compiled, s"),
    *("GiB", "peak GiB", "device"),
)
_CALLS = 10  # to time on the host
_TRACED = 2  # steps
_TILE = 16  # pixels of one colour, so that masks and pictures are neither noise nor flat
_GIB = 2**30


class _Contender(NamedTuple):
    """One side of the comparison."""

    call: Callable[[], None]  # starts a step
    wait: Callable[[], None]  # waits for all steps
    cells: dict[str, str]  # of its row, by column; a missing one is `-`

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.call()
        self.wait()


def measure(arguments: argparse.Namespace) -> None:
    """Prints a table in Markdown, each model and batch in a process with all of the memory."""
    if arguments.here:
        _measure(arguments.names[0], arguments.batches[0], arguments)
        return
    _print_row(_COLUMNS)
    _print_row(["---"] * len(_COLUMNS))
    for name in arguments.names:
        for batch in arguments.batches:
            in_new_process(f"--names={name}", f"--batches={batch}")


def _measure(name: str, batch_size: int, arguments: argparse.Namespace) -> None:
    """Prints a row for this project, and with `released` two for PyTorch, run in turns."""
    keep_freed_memory()
    dtype, options, clone = arguments.dtype, arguments.compiler_option, arguments.released
    title = " ".join([f"jax {jax.__version__}", *options])
    makers = {title: partial(_ours, name, batch_size, dtype, options)}
    if clone:
        # JAX must leave memory to PyTorch on the same device.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        released_model(clone, name)  # so that a mistake shows before anything is compiled
        check_device()
        for other, compiled in (("PyTorch", False), ("PyTorch, compiled", True)):
            makers[other] = partial(_released, clone, name, batch_size, dtype, compiled)
    contenders: dict[str, _Contender] = {}
    for title, make in makers.items():
        try:
            contenders[title] = make()
        except Exception as error:  # such as a lack of memory; the others' rows are still wanted
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            print(f"{name}, batch {batch_size}, {title}: left out, {reason}", file=sys.stderr)
    runs = {title: partial(side.run, arguments.steps) for title, side in contenders.items()}
    times = in_turns(runs, arguments.rounds)
    for title, side in contenders.items():
        steps = [seconds / arguments.steps for seconds in times[title]]
        rates = [batch_size / seconds for seconds in steps]
        cells = {
            **{"model": f"`{name}`", "type": dtype, "batch": str(batch_size)},
            **{"by": title, "device": jax.devices()[0].device_kind},
            "images/s": f"{statistics.median(rates):,.1f} ({max(rates):,.1f})",
            "ms a step": f"{statistics.median(steps) * 1e3:.2f}",
            "host ms a call": f"{_host_milliseconds(side):.2f}",
            **side.cells,
        }
        for floor in {"arithmetic", "bytes"} & cells.keys():
            number = float(cells[floor].removesuffix(" ms"))
            cells[floor] += f" ({number / 1e3 / statistics.median(steps):.0%})"
        _print_row(cells.get(column, "-") for column in _COLUMNS)


def _print_row(cells: Iterable[str]) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def _host_milliseconds(side: _Contender) -> float:
    """How long a call takes to return when the queue is empty."""
    seconds = []
    for _ in range(_CALLS):
        side.wait()
        start = time.perf_counter()
        side.call()
        seconds.append(time.perf_counter() - start)
    side.wait()
    return 1e3 * statistics.median(seconds)


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
    config.data.image_size = released_image_size(name)
    config.train.batch_size = batch_size
    config.train.compiler_options = tuple(options)
    start = time.perf_counter()
    mesh = create_mesh()
    training = set_up(config, mesh, COMPOSITES)
    state: Any = jax.block_until_ready(training.begin())
    created = time.perf_counter() - start
    batch = to_devices(_batch(batch_size, config.data.image_size), mesh)
    start = time.perf_counter()
    compiled = training.step.lower(state, batch).compile()  # the calls use it
    seconds = time.perf_counter() - start
    metrics: Any = None

    def call() -> None:
        nonlocal state, metrics
        state, metrics = training.step(state, batch)

    side = _Contender(call, lambda: jax.block_until_ready((state, metrics)), {})
    side.run(3)
    memory: Any = compiled.memory_analysis()
    planned = (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
    )
    side.cells.update(
        {
            "created, s": f"{created:.1f}",
            "compiled, s": f"{seconds:.1f}",
            "GiB": f"{planned / _GIB:.2f}",
            "peak GiB": f"{peak_memory() / _GIB:.2f}",
            **_program_cells(compiled, dtype),
            **_traced_cells(side),
        }
    )
    return side


def _program_cells(compiled: jax.stages.Compiled, dtype: str) -> dict[str, str]:
    """What the compiled program says: kernels, and floors where the chip's peaks are known."""
    program = operations(compiled.as_text() or "")
    cost: Any = compiled.cost_analysis()
    flops = cost["flops"] if cost else gpu_program.product_flops(program)
    moved = bytes_moved(program)
    count = sum(gpu_program.kernels(program).values())
    cells = {"kernels": f"{count:,} in the program"}
    if (chip := chip_of(jax.devices()[0].device_kind)) is None:
        return cells
    return cells | {
        "arithmetic": f"{1e3 * flops / chip.peak(dtype):.2f} ms",
        "bytes": f"{1e3 * moved / chip.bandwidth:.2f} ms",
    }


def _traced_cells(side: _Contender) -> dict[str, str]:
    """Kernels and busy time from a trace of a GPU; nothing on other devices."""
    if jax.default_backend() != "gpu":
        return {}
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            side.run(_TRACED)
        trace = read_trace(Path(folder), _TRACED)
    if trace is None or not trace.kernels:
        print("The trace holds no kernels; their number is that of the program.", file=sys.stderr)
        return {}
    return {"kernels": f"{trace.kernels:,.0f}", "device busy, ms": f"{1e3 * trace.busy:.2f}"}


def _batch(batch_size: int, side: int) -> dict[str, np.ndarray]:
    """Pictures of coarse random tiles, three tenths of which are recoloured."""
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


def _released(clone: Path, name: str, batch_size: int, dtype: str, compiled: bool) -> _Contender:
    """The authors' model as PyTorch trains it fastest: autocast, channels_last, fused Adam."""
    start = time.perf_counter()
    model = released_model(clone, name)
    import torch

    on_gpu = torch.cuda.is_available()
    device = "cuda" if on_gpu else "cpu"
    torch.backends.cudnn.benchmark = True
    # As JAX multiplies float32 on a GPU by default.
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

    side = _Contender(call, torch.cuda.synchronize if on_gpu else lambda: None, {})
    side.cells.update({"by": f"PyTorch {torch.__version__}"})
    side.cells["created, s"] = f"{time.perf_counter() - start:.1f}"
    start = time.perf_counter()
    side.run(1)
    if compiled:
        side.cells["by"] += ", compiled"
        side.cells["compiled, s"] = f"{time.perf_counter() - start:.1f}"
    if on_gpu:
        side.cells["peak GiB"] = f"{torch.cuda.max_memory_allocated() / _GIB:.2f}"
    return side
