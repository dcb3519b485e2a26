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

from harmony_jax.planning.device_groups import device_groups
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
_SCALARS = 8  # that may be joined: the loss and norms


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
        devices: that exchange values with one another.
        hosts: that these are on.
    """

    kind: str
    purpose: str
    dtype: str
    operations: int
    values: int
    bytes: int
    devices: int
    hosts: int = 1

    def sent(self) -> tuple[float, float]:
        """Bytes that a device sends at the least: within its host, and to other hosts.

        An all-reduce passes all but a device's own share on twice, first sums, then results;
        everything else once. Between hosts, each device of a host passes on its part of the host's.
        """
        rounds = 2 if self.kind == "all-reduce" else 1
        on_host = self.devices / self.hosts
        within = rounds * self.bytes * (1 - 1 / on_host)
        between = rounds * self.bytes / on_host * (1 - 1 / self.hosts)
        return within, between


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


def collectives(
    program: Iterable[Instruction], devices: int, devices_a_host: int
) -> list[Collective]:
    """The program's collective operations, grouped; the largest group first.

    Args:
        program: compiled for so many devices.
        devices: in the order of its mesh.
        devices_a_host: neighbours in this order.
    """
    groups: dict[tuple[str, str, str, int, int], list[tuple[int, Array]]] = defaultdict(list)
    counts: dict[tuple[str, str, str, int, int], int] = defaultdict(int)
    for instruction in program:
        kind = _kind(instruction)
        if kind in _KINDS:
            arrays = _sent(instruction)
            purpose = _purpose(kind, instruction.op_name, arrays)
            joined = device_groups(instruction.attributes, devices)
            hosts = max(len(set(group // devices_a_host)) for group in joined)
            place = joined.shape[1], hosts
            for dtype in dict.fromkeys(array.dtype for array in arrays):
                counts[kind, purpose, dtype, *place] += instruction.times
            for array in arrays:
                groups[kind, purpose, array.dtype, *place].append((instruction.times, array))
    found = [
        Collective(
            *group[:3],
            counts[group],
            sum(times * array.size for times, array in sent),
            sum(times * array.bytes for times, array in sent),
            *group[3:],
        )
        for group, sent in groups.items()
    ]
    return sorted(found, key=lambda collective: -collective.bytes)


def is_collective(instruction: Instruction) -> bool:
    """Whether it sends something to other devices, or waits for it."""
    return _kind(instruction).removesuffix("-done") in _KINDS


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
    # GPUs have the two sums of a batch normalisation as one operation, whose parts on the devices
    # are gathered.
    of_sums = "/reduce" in op_name
    if kind == "all-gather" and not of_sums:
        return PARAMETERS
    if kind == "all-gather":
        return GRADIENTS if "transpose(jvp" in op_name else STATISTICS
    if kind not in ("all-reduce", "reduce-scatter"):
        return OTHER
    if not op_name:  # joined end to end; the backward pass's, as the forward pass waits for each
        return GRADIENTS if sum(array.size for array in arrays) > _SCALARS else OTHER
    # Kernels, which the compiler may have joined with anything: the name is that of one member.
    if "transpose(jvp" in op_name or any(len(array.shape) > 1 for array in arrays):
        return GRADIENTS
    return STATISTICS if "jvp" in op_name else OTHER
