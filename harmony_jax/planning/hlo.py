"""Reads a compiled program's text (XLA's HLO): its operations, and the bytes that they move.

The compiler's own analysis of bytes will not do: for GPUs it is empty, and for TPUs it includes
on-chip memory.
"""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

_BITS = {
    **{"pred": 8, "s8": 8, "u8": 8, "s16": 16, "u16": 16, "f16": 16, "bf16": 16},
    **{"s32": 32, "u32": 32, "f32": 32, "s64": 64, "u64": 64, "f64": 64, "c64": 64},
}
_ARRAY = re.compile(rf"\b({'|'.join(_BITS)})\[([\d,]*)\](?:\{{([^}}]*)\}})?")
_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\{$")
_OPERATION = re.compile(r"\s+(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)")
_CALLED = re.compile(r"\b(body|calls|to_apply|branch_computations)=(\{[^}]*\}|%?[\w.\-]+)")

# These move nothing: they name values, or their parts are counted by themselves.
FREE = (
    *("parameter", "constant", "iota", "tuple", "get-tuple-element", "bitcast", "opt-barrier"),
    *("while", "conditional", "call", "after-all", "partition-id", "replica-id"),
)


class Array(NamedTuple):
    """One array that an operation reads or writes.

    Attributes:
        dtype: f32, bf16, ...
        shape: of the values.
        stored_bytes: what it takes in memory, with the padding of a TPU's tiles.
        in_main_memory: not in the on-chip memory where TPU programs keep short-lived values.
    """

    dtype: str
    shape: tuple[int, ...]
    stored_bytes: int
    in_main_memory: bool

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.size * _BITS[self.dtype] // 8


@dataclass
class Operation:
    """One operation of a compiled program.

    Attributes:
        name: unique in its computation.
        opcode: fusion, all-reduce, ...
        results: the arrays that it makes.
        names: of the operations whose results it takes.
        operands: these results, in one row.
        inside: the text between its parentheses.
        attributes: the text behind them.
        moved: bytes that it reads from and writes to main memory when it runs, padding included.
            An operand counts once; if only slices of it are taken, these count.
        times: how often it runs each time the program does: more than once in a loop.
        is_scheduled: it runs by itself, not as a part of a fusion.
    """

    name: str
    opcode: str
    results: tuple[Array, ...]
    names: tuple[str, ...]
    operands: tuple[Array, ...]
    inside: str
    attributes: str
    moved: int = 0
    times: int = 0
    is_scheduled: bool = False


def operations(text: str) -> list[Operation]:
    """All operations of a compiled program (`compiled.as_text()`), those inside fusions too."""
    computations, entry = _parse(text)

    def visit(name: str, runs: int, by_itself: bool) -> None:
        for operation in computations.get(name, {}).values():
            operation.times += runs
            operation.is_scheduled |= by_itself
            apart = by_itself and operation.opcode in ("while", "conditional", "call")
            trips = _trips(operation, computations) if operation.opcode == "while" else 1
            for kind, called in _called(operation):
                # The sum of a reduction is no computation of its own.
                if kind != "to_apply" or operation.opcode == "call":
                    visit(called, runs * trips, apart)

    visit(entry, 1, True)
    found = []
    for lines in computations.values():
        for operation in lines.values():
            if operation.is_scheduled:
                operation.moved = _moved(computations, lines, operation)
            if operation.times:
                found.append(operation)
    return found


def bytes_moved(program: Iterable[Operation]) -> int:
    """Bytes that the program reads from and writes to main memory."""
    return sum(operation.moved * operation.times for operation in program)


_Computation = dict[str, Operation]


def _parse(text: str) -> tuple[dict[str, _Computation], str]:
    """The program's computations by name, and the name of the one that it begins with."""
    computations: dict[str, _Computation] = {}
    entry, lines = "", {}
    for line in text.splitlines():
        if header := _COMPUTATION.match(line):
            lines = computations[header[2]] = {}
            entry = header[2] if header[1] else entry
        elif match := _OPERATION.match(line):
            name, types, opcode, rest = match.groups()
            end = _closing(rest)
            names = tuple(re.findall(r"%([\w.\-]+)", rest[:end]))
            operands = tuple(a for other in names if other in lines for a in lines[other].results)
            results = tuple(_arrays(types))
            lines[name] = Operation(
                name, opcode, results, names, operands, rest[:end], rest[end + 1 :]
            )
    return computations, entry


def _closing(rest: str) -> int:
    """Position of the parenthesis that closes the operands."""
    depth = 1
    for end, character in enumerate(rest):
        depth += (character == "(") - (character == ")")
        if not depth:
            return end
    return len(rest)


def _arrays(types: str) -> Iterator[Array]:
    for dtype, dimensions, layout in _ARRAY.findall(types):
        shape = [int(side) for side in dimensions.split(",") if side]
        stored = math.prod(_padded(shape, layout)) * _BITS[dtype] // 8
        yield Array(dtype, tuple(shape), stored, "S(" not in layout)


def _padded(shape: list[int], layout: str) -> list[int]:
    """The shape in memory, slowest axis first, rounded up to whole tiles."""
    order, _, tiling = layout.partition(":")
    tile = re.search(r"T\(([\d,]+)\)", tiling)
    if tile is None:
        return shape
    sides = [int(side) for side in tile[1].split(",")]
    stored = [shape[int(axis)] for axis in reversed(order.split(",")) if axis]
    stored = [1] * (len(sides) - len(stored)) + stored
    start = len(stored) - len(sides)
    tiled = zip(stored[start:], sides, strict=True)
    return stored[:start] + [math.ceil(side / unit) * unit for side, unit in tiled]


def _called(operation: Operation) -> list[tuple[str, str]]:
    """Computations that an operation calls, each with the attribute that names it."""
    return [
        (kind, name)
        for kind, names in _CALLED.findall(operation.attributes)
        for name in re.findall(r"[\w.\-]+", names)
    ]


def _trips(loop: Operation, computations: dict[str, _Computation]) -> int:
    """How often a loop runs: as XLA noted it, or what its condition compares the counter with."""
    if noted := re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.attributes):
        return int(noted[1])
    condition = re.search(r"\bcondition=%?([\w.\-]+)", loop.attributes)
    lines = computations[condition[1]].values() if condition else ()
    limits = [line.inside for line in lines if line.opcode == "constant"]
    return max((int(limit) for limit in limits if limit.isdecimal()), default=1)


def _moved(computations: dict[str, _Computation], lines: _Computation, operation: Operation) -> int:
    if operation.opcode in FREE or operation.opcode.endswith("-done"):
        return 0
    if operation.opcode in ("copy-start", "slice-start"):
        # Copies from one place to another, either of which may be on-chip memory.
        ends = operation.results[:2]
        return min(a.stored_bytes for a in ends) * sum(a.in_main_memory for a in ends)
    read = sum(
        _read(computations, lines, operation, place)
        for place, name in enumerate(operation.names)
        if name in lines and any(array.in_main_memory for array in lines[name].results)
    )
    return read + sum(array.stored_bytes for array in operation.results if array.in_main_memory)


def _read(
    computations: dict[str, _Computation], lines: _Computation, operation: Operation, place: int
) -> int:
    """Bytes that an operation reads of one operand: all of it, or the slices that it takes."""
    whole = _stored(lines[operation.names[place]])
    if operation.opcode in ("slice", "dynamic-slice") and place == 0:
        return min(whole, _stored(operation))
    if operation.opcode == "fusion":
        fused = computations[_called(operation)[0][1]]
        for inner in fused.values():
            if inner.opcode == "parameter" and int(inner.inside) == place:
                return min(whole, _used(computations, fused, inner))
    return whole


def _used(computations: dict[str, _Computation], lines: _Computation, value: Operation) -> int:
    """Bytes that a computation reads of one of its values; all of it if that is its result."""
    uses = [
        _used(computations, lines, operation)
        if operation.opcode in ("bitcast", "reshape")
        else _read(computations, lines, operation, place)
        for operation in lines.values()
        for place, name in enumerate(operation.names)
        if name == value.name
    ]
    return sum(uses) if uses else _stored(value)


def _stored(operation: Operation) -> int:
    return sum(array.stored_bytes for array in operation.results)
