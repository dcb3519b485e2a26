"""What a compiled step sends between devices."""

import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from harmony_jax.planning.hlo import Operation

_KINDS = (
    *("all-reduce", "reduce-scatter", "all-gather", "all-to-all", "ragged-all-to-all"),
    *("collective-permute", "collective-broadcast"),
)


class Collective(NamedTuple):
    """All collective operations of a step that are of one kind and type, in groups of one size.

    Attributes:
        kind: all-reduce, all-gather, ...
        dtype: of the values sent.
        devices: how many exchange values with one another.
        hosts: that these are on.
        operations: of the step; one may send many arrays.
        bytes: of the whole arrays: what is reduced, or what a gather ends with.
    """

    kind: str
    dtype: str
    devices: int
    hosts: int
    operations: int
    bytes: int

    def sent(self) -> tuple[float, float]:
        """Bytes that a device sends at least: within its host, and to other hosts.

        An all-reduce passes everything but a device's own share on twice, first sums, then
        results; other collectives once. Between hosts, each device passes on its part of the
        host's.
        """
        rounds = 2 if self.kind == "all-reduce" else 1
        on_host = self.devices / self.hosts
        within = rounds * self.bytes * (1 - 1 / on_host)
        between = rounds * self.bytes / on_host * (1 - 1 / self.hosts)
        return within, between


def collectives(
    program: Iterable[Operation], devices: int, devices_a_host: int
) -> list[Collective]:
    """The program's collective operations, grouped; the largest group first.

    Args:
        program: compiled for so many devices.
        devices: in the order of its mesh.
        devices_a_host: neighbours in this order.
    """
    counts: Counter[tuple[str, str, int, int]] = Counter()
    sizes: Counter[tuple[str, str, int, int]] = Counter()
    for operation in program:
        kind = collective_kind(operation)
        if kind is None or operation.opcode.endswith("-done"):
            continue
        arrays = operation.operands
        if kind == "all-gather":  # the results of a start begin with its operands
            asynchronous = operation.opcode.endswith("-start")
            arrays = operation.results[len(arrays) if asynchronous else 0 :]
        group = device_group(operation.attributes, devices)
        place = len(group), len(set(group // devices_a_host))
        for dtype in {array.dtype for array in arrays}:
            size = sum(array.bytes for array in arrays if array.dtype == dtype)
            counts[kind, dtype, *place] += operation.times
            sizes[kind, dtype, *place] += operation.times * size
    return [Collective(*key, counts[key], size) for key, size in sizes.most_common()]


def collective_kind(operation: Operation) -> str | None:
    """What an operation sends, or waits for; None if nothing."""
    kind = operation.opcode.removesuffix("-start").removesuffix("-done")
    if kind == "all-reduce" and not operation.is_scheduled:
        return "reduce-scatter"  # as TPUs have it: fused with the slice that each device keeps
    return kind if kind in _KINDS else None


_ORDER = r"\[([\d,]+)\](?:T\(([\d,]+)\))?"  # 0, 1, ... in a grid, transposed
_MESH = re.compile(r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\(([^{]*)\))? \{([^}]*)\}")


def device_group(attributes: str, devices: int) -> np.ndarray:
    """Numbers of the devices, in the order of the mesh, that exchange values with the first one.

    Args:
        attributes: of the operation, in any of XLA's notations.
        devices: of the whole program.
    """
    if listed := re.search(r"replica_groups=\{\{([\d,]+)\}", attributes):
        return _numbers(listed[1])
    if rows := re.search(rf"replica_groups=\[\d+,(\d+)\]<={_ORDER}", attributes):
        return _in_order(rows[2], rows[3])[: int(rows[1])]
    mesh = _MESH.search(attributes)
    if mesh is None:
        return np.arange(devices)
    # Some axes, or parts of them, of a mesh of named axes.
    axes = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", mesh[1])}
    ids = np.arange(math.prod(axes.values()))
    if mesh[2]:
        order = re.fullmatch(_ORDER, mesh[2])
        ids = _in_order(order[1], order[2]) if order else _numbers(mesh[2])
    parts = {
        name: (int(before or 1), int(size or axes[name]))
        for name, before, size in re.findall(r"'([^']+)'(?::\((\d+)\)(\d+))?", mesh[3])
    }
    shape: list[int] = []  # of each axis: before the part, the part, behind it
    for name, length in axes.items():
        before, size = parts.get(name, (length, 1))
        shape += [before, size, length // (before * size)]
    return ids.reshape(shape)[(0, slice(None), 0) * len(axes)].ravel()


def _in_order(dimensions: str, permutation: str | None) -> np.ndarray:
    shape = _numbers(dimensions)
    grid = np.arange(math.prod(shape)).reshape(shape)
    return grid.transpose(_numbers(permutation) if permutation else None).ravel()


def _numbers(text: str) -> np.ndarray:
    return np.array([int(number) for number in text.split(",")])
