"""What a program compiled for a GPU runs, multiplies and launches."""

import math
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from harmony_jax.planning.collectives import collective_kind
from harmony_jax.planning.hlo import FREE, Operation

# The compiler option that names a folder, where XLA lists what it launches (`launches`).
DUMP = "xla_dump_to"

_LABELS = re.compile(r"dim_labels=\w+_(\w+)->")
_DILATION = re.compile(r"lhs_dilate=([\dx]+)")
_CONTRACTED = re.compile(r"lhs_contracting_dim(?:ension)?s\"?[=:][\[{]([^\]}]*)")


def kernels(program: Iterable[Operation]) -> dict[str, int]:
    """Kernels and copies that a step runs, without collectives: convolutions, products, others.

    A convolution counts once, though cuDNN may pad and transpose in kernels of its own.
    """
    counts = {"convolutions": 0, "products": 0, "other": 0}
    for operation in program:
        opcode, attributes = operation.opcode, operation.attributes
        waits = opcode.endswith("-done") or opcode.startswith("async-")
        if not operation.is_scheduled or opcode in FREE or waits or collective_kind(operation):
            continue
        is_product = _CONTRACTED.search(attributes) or operation.name.startswith("gemm_fusion")
        kind = "products" if is_product else "other"
        counts["convolutions" if _LABELS.search(attributes) else kind] += operation.times
    return counts


def product_flops(program: Iterable[Operation]) -> int:
    """FLOP of the convolutions and matrix products, those with padding included."""
    return sum(operation.times * _flops(operation) for operation in program)


def _flops(operation: Operation) -> int:
    attributes = operation.attributes
    labels, contracted = _LABELS.search(attributes), _CONTRACTED.search(attributes)
    if contracted:
        shape = operation.operands[0].shape
        axes = re.findall(r"\d+", contracted[1])
        return 2 * operation.results[0].size * math.prod(shape[int(axis)] for axis in axes)
    if not labels:
        return 0
    # Twice the outputs times the kernel's values for each. Gradients are the same products.
    outputs, kernel = operation.results[0], operation.operands[1]
    if 'BackwardInput"' in attributes:
        outputs = operation.operands[0]
    elif 'BackwardFilter"' in attributes:
        outputs, kernel = kernel, outputs
    dilation = _DILATION.search(attributes)
    zeros = math.prod(int(side) for side in dilation[1].split("x")) if dilation else 1
    return 2 * outputs.size * kernel.size // kernel.shape[labels[1].index("o")] // zeros


class Launches(NamedTuple):
    """What a step launches.

    Attributes:
        graphs: CUDA graphs (XLA's command buffers).
        captured: kernels and copies in these.
        alone: kernels, copies and collectives that are launched one by one.
    """

    graphs: int
    captured: int
    alone: int


def launches(folder: Path, program: str) -> Launches | None:
    """Reads XLA's list of what a program launches; None if there is none, as on a CPU.

    Args:
        folder: that DUMP named when the program was compiled.
        program: its name, or a part of it.
    """
    files = folder.glob("*thunk_sequence_after_thunk_passes.txt")
    text = "".join(path.read_text() for path in files if program in path.name)
    counts: Counter[str] = Counter()
    depth = None  # of the graph that the lines are in
    for indent, kind in re.findall(r"^( *)\d+: k(\w+)", text, re.MULTILINE):
        captured = depth is not None and len(indent) > depth
        is_graph = kind == "CommandBuffer"
        if not captured:
            depth = len(indent) if is_graph else None
        # These only order launches, which are listed apart.
        if kind not in ("AsyncStart", "AsyncDone", "Sequential", "While", "Conditional"):
            counts["captured" if captured else "graphs" if is_graph else "alone"] += 1
    return Launches(counts["graphs"], counts["captured"], counts["alone"]) if text else None
