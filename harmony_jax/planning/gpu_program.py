"""What a program compiled for a GPU launches and multiplies, from its text."""

import math
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from harmony_jax.planning.hlo_text import FREE, Instruction
from harmony_jax.planning.step_traffic import is_collective

CONVOLUTIONS, PRODUCTS = "convolutions", "products"
DUMP = "xla_dump_to"  # the compiler option that names the folder for `dumped_launches`
_LAUNCHES = "*thunk_sequence_after_thunk_passes.txt"
# Of fusions and other kernels: the first of these words in the name.
_BY_NAME = {"reduce": "reductions", "copy": "copies", "transpose": "transpositions"}
_OTHER = "other"

_TARGET = re.compile(r'custom_call_target="([^"]*)"')
_LABELS = re.compile(r"dim_labels=(\w+)_(\w+)->(\w+)")
_DILATION = re.compile(r"lhs_dilate=([\dx]+)")
_CONTRACTED = re.compile(r"lhs_contracting_dim(?:ension)?s\"?[=:][\[{]([\d,\"]*)[\]}]")
_LAUNCH = re.compile(r"( *)\d+: k(\w+)")


class Graphs(NamedTuple):
    """What a step launches.

    Attributes:
        graphs: CUDA graphs (XLA's command buffers).
        captured: kernels and copies in these.
        alone: kernels, copies and collectives that are launched one by one.
    """

    graphs: int
    captured: int
    alone: int

    @property
    def launches(self) -> int:
        return self.graphs + self.alone


def kernels(program: Iterable[Instruction]) -> dict[str, int]:
    """Kernels and copies that a step runs, by what they do, collectives apart.

    A convolution counts once, though cuDNN may pad and transpose in kernels of its own.
    """
    counts: Counter[str] = Counter()
    for instruction in program:
        opcode = instruction.opcode
        runs = instruction.is_scheduled and opcode not in FREE and not opcode.endswith("-done")
        if runs and not is_collective(instruction) and not opcode.startswith("async-"):
            counts[_kind(instruction)] += instruction.times
    return dict(counts.most_common())


def odd_convolutions(program: Iterable[Instruction]) -> int:
    """Convolutions with channels that are no multiple of 8, which cuDNN pads; of colours, too."""
    return sum(
        instruction.times
        for instruction in program
        if _kind(instruction) == CONVOLUTIONS and any(size % 8 for size in _channels(instruction))
    )


def product_flops(program: Iterable[Instruction]) -> int:
    """FLOP of convolutions and matrix products, those with padding included."""
    total = 0
    for instruction in program:
        kind = _kind(instruction)
        if instruction.opcode != "fusion" and kind in (CONVOLUTIONS, PRODUCTS):
            flops = _convolution_flops if kind == CONVOLUTIONS else _product_flops
            total += flops(instruction) * instruction.times
    return total


def dumped_launches(folder: Path, program: str = "") -> str:
    """XLA's list of what a program launches; empty where it was not compiled, or on a CPU.

    Args:
        folder: that DUMP named when it was compiled.
        program: its name, or a part of it.
    """
    files = (path for path in folder.glob(_LAUNCHES) if program in path.name)
    return "".join(path.read_text() for path in files)


def graphs(launches: str) -> Graphs:
    """Reads XLA's list of what a program launches (`dumped_launches`).

    Loops count once: how often they run is not in the list.
    """
    counts: Counter[str] = Counter()
    depth = None  # of the graph that the lines are in
    for line in launches.splitlines():
        match = _LAUNCH.match(line)
        if match is None:
            continue
        indent, kind = len(match[1]), match[2]
        if depth is not None and indent > depth:
            counts["captured"] += _runs(kind)
            continue
        depth = indent if kind == "CommandBuffer" else None
        counts["graphs" if kind == "CommandBuffer" else "alone"] += _runs(kind)
    return Graphs(counts["graphs"], counts["captured"], counts["alone"])


def _runs(kind: str) -> bool:
    """Not what orders other launches: asynchronous ones are listed apart."""
    return kind not in ("AsyncStart", "AsyncDone", "Sequential", "While", "Conditional")


def _kind(instruction: Instruction) -> str:
    target = _TARGET.search(instruction.attributes)
    name = target[1] if target else instruction.name
    if instruction.opcode == "convolution" or "conv" in name.partition("$")[2]:
        return CONVOLUTIONS
    if instruction.opcode == "dot" or name.startswith(("__cublas", "gemm_fusion")):
        return PRODUCTS
    words = re.findall("|".join(_BY_NAME), instruction.name)
    return _BY_NAME[words[0]] if words else _OTHER


def _convolution_flops(convolution: Instruction) -> int:
    """Twice the outputs times the kernel's values for each."""
    labels = _LABELS.search(convolution.attributes)
    target = _TARGET.search(convolution.attributes)
    first, second = convolution.operands[:2]
    result = convolution.results[0]
    outputs, kernel = result, second
    if target and target[1].endswith("BackwardInput"):
        outputs = first
    elif target and target[1].endswith("BackwardFilter"):
        outputs, kernel = second, result
    if labels is None:
        return 0
    for_each = kernel.size // kernel.shape[labels[2].index("o")]
    dilation = _DILATION.search(convolution.attributes)
    zeros = math.prod(int(side) for side in dilation[1].split("x")) if dilation else 1
    return 2 * outputs.size * for_each // zeros


def _channels(convolution: Instruction) -> list[int]:
    labels = _LABELS.search(convolution.attributes)
    if labels is None:
        return []
    target = _TARGET.search(convolution.attributes)
    backward = bool(target) and target[1].endswith("BackwardFilter")  # type: ignore[index]
    kernel = convolution.results[0] if backward else convolution.operands[1]
    return [kernel.shape[labels[2].index(label)] for label in "io"]


def _product_flops(product: Instruction) -> int:
    contracted = _CONTRACTED.search(product.attributes)
    if contracted is None:
        return 0
    shape = product.operands[0].shape
    axes = [int(axis) for axis in contracted[1].replace('"', "").split(",") if axis]
    return 2 * product.results[0].size * math.prod(shape[axis] for axis in axes)
