"""What the training step sends between devices, held against what it has to send.

A step has to add up, over the devices, each parameter's gradient once (those of batch
normalisation's scale and bias are its backward pass's two sums) and, in the forward pass, two sums
for each channel of batch normalisation. Where the state is divided, each parameter is gathered once
besides. The compiler decides what is sent; this reads it from the compiled program.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax

from harmony_jax.planning.hlo_text import Array, Instruction
from harmony_jax.training.freezing import is_frozen, parameter_name
from harmony_jax.training.layout import TrainState

GRADIENTS, STATISTICS, PARAMETERS, OTHER = "gradients", "batch statistics", "parameters", "other"
PURPOSES = (GRADIENTS, STATISTICS, PARAMETERS, OTHER)

_KINDS = frozenset(
    (
        *("all-reduce", "reduce-scatter", "all-gather", "all-to-all", "ragged-all-to-all"),
        *("collective-permute", "collective-broadcast"),
    )
)


class Collective(NamedTuple):
    """All collective operations of a step that are of one kind, purpose and type.

    Attributes:
        kind: all-reduce, all-gather, ...
        purpose: one of PURPOSES; gradients are the backward pass's reductions, batch statistics
            the forward pass's.
        dtype: of the values sent.
        operations: of the step; one may send many arrays.
        values: in the whole arrays: what is reduced, or what a gather ends with.
        bytes: of these.
    """

    kind: str
    purpose: str
    dtype: str
    operations: int
    values: int
    bytes: int


def required(state: TrainState, parts: int = 1, frozen: Sequence[str] = ()) -> dict[str, int]:
    """Values that a step must send, by purpose.

    Args:
        state: concrete or abstract, as trees, with its shardings.
        parts: that the batch is computed in; each has batch statistics of its own.
        frozen: patterns of parameters that have no gradient (`optimizer.freeze`); a normalisation
            that is frozen has no batch statistics.
    """
    values = dict.fromkeys(PURPOSES, 0)
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.variables.batch_stats):
        layer, _, name = parameter_name(path).rpartition(".")
        stays = all(is_frozen(f"{layer}.{parameter}", frozen) for parameter in ("scale", "bias"))
        if name in ("mean", "var") and not stays:
            values[STATISTICS] += leaf.size * parts
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.variables.params):
        if not is_frozen(parameter_name(path), frozen):
            values[GRADIENTS] += leaf.size
        if not leaf.sharding.is_fully_replicated:
            values[PARAMETERS] += leaf.size
    return values


def collectives(program: Iterable[Instruction]) -> list[Collective]:
    """The program's collective operations, grouped; the largest group first."""
    groups: dict[tuple[str, str, str], list[tuple[int, Array]]] = defaultdict(list)
    counts: dict[tuple[str, str, str], int] = defaultdict(int)
    for instruction in program:
        kind = _kind(instruction)
        if kind in _KINDS:
            arrays = _sent(instruction)
            purpose = _purpose(kind, instruction.op_name, arrays)
            for dtype in dict.fromkeys(array.dtype for array in arrays):
                counts[kind, purpose, dtype] += instruction.times
            for array in arrays:
                groups[kind, purpose, array.dtype].append((instruction.times, array))
    found = [
        Collective(
            *group,
            counts[group],
            sum(times * array.size for times, array in sent),
            sum(times * array.bytes for times, array in sent),
        )
        for group, sent in groups.items()
    ]
    return sorted(found, key=lambda collective: -collective.bytes)


def surplus(found: Iterable[Collective], needed: dict[str, int]) -> dict[str, int]:
    """Values sent beyond those needed, by purpose; a few scalars (the loss, norms) are usual."""
    sent = {purpose: -values for purpose, values in needed.items()}
    for collective in found:
        sent[collective.purpose] += collective.values
    return sent


def _kind(instruction: Instruction) -> str:
    kind = instruction.opcode.removesuffix("-start")
    if kind == "all-reduce" and not instruction.is_scheduled:
        return "reduce-scatter"  # how a TPU has it: fused with the slice that each device keeps
    return kind


def _sent(instruction: Instruction) -> tuple[Array, ...]:
    """The whole arrays: what goes in, or for a gather what comes out."""
    if instruction.opcode == "all-gather":
        return instruction.results
    if instruction.opcode == "all-gather-start":  # its results begin with its operands
        return instruction.results[len(instruction.operands) :]
    return instruction.operands


def _purpose(kind: str, op_name: str, arrays: Iterable[Array]) -> str:
    if kind == "all-gather":
        return PARAMETERS
    if kind not in ("all-reduce", "reduce-scatter"):
        return OTHER
    # Kernels, which the compiler may have joined with anything: the name is that of one member.
    if "transpose(jvp" in op_name or any(len(array.shape) > 1 for array in arrays):
        return GRADIENTS
    return STATISTICS if "jvp" in op_name else OTHER
