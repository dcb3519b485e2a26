"""Reads compiled programs in XLA's text form (HLO): operations, and the bytes of their arrays."""

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

_BITS = {
    **{"pred": 8, "s8": 8, "u8": 8, "s16": 16, "u16": 16, "f16": 16, "bf16": 16},
    **{"s32": 32, "u32": 32, "f32": 32, "s64": 64, "u64": 64, "f64": 64, "c64": 64},
}
_ARRAY = re.compile(rf"\b({'|'.join(_BITS)})\[([\d,]*)\](?:\{{([^}}]*)\}})?")
_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)")
_TILE = re.compile(r"T\(([\d,]+)\)")
_CALLED = re.compile(r"\b(body|calls|to_apply|branch_computations)=(\{[^}]*\}|%?[\w.\-]+)")
_CONDITION = re.compile(r"\bcondition=%?([\w.\-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_CONSTANT = re.compile(r"(\d+)\)")
_OP_NAME = re.compile(r'op_name="([^"]*)"')


class Array(NamedTuple):
    """One array that an operation reads or writes.

    Attributes:
        dtype: f32, bf16, ...
        shape: of the values.
        stored_bytes: what it takes in memory, with the padding of a TPU's tiles.
        in_main_memory: not in the on-chip memory that TPU programs keep short-lived values in.
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


class Instruction(NamedTuple):
    """One operation of the compiled program.

    Attributes:
        name: unique in its computation.
        opcode: fusion, all-reduce, ...
        op_name: what it was compiled from, as the tracer names it.
        results, operands: its arrays.
        read: bytes of the operands that it reads from main memory, padding included; of one that
            it only takes slices of, those of the slices.
        attributes: the text behind the operands.
        times: how often it runs each time the program does: more than once in a loop.
        is_scheduled: it runs by itself, not as a part of a fusion.
    """

    name: str
    opcode: str
    op_name: str
    results: tuple[Array, ...]
    operands: tuple[Array, ...]
    read: int
    attributes: str
    times: int
    is_scheduled: bool


class _Line(NamedTuple):
    name: str
    types: str
    opcode: str
    rest: str  # operands and attributes


def instructions(text: str) -> list[Instruction]:
    """All operations of a compiled program (`compiled.as_text()`), those inside fusions too."""
    computations, entry = _computations(text)
    times, scheduled = _calls(computations, entry)
    found = []
    for name, computation in computations.items():
        if not times[name]:
            continue
        for line in computation.lines:
            named = computation.operands[line.name]
            op_name = _OP_NAME.search(line.rest)
            found.append(
                Instruction(
                    line.name,
                    line.opcode,
                    op_name[1] if op_name else "",
                    computation.results[line.name],
                    tuple(array for other in named for array in computation.results.get(other, ())),
                    _bytes_read_by(computations, computation, line) if name in scheduled else 0,
                    line.rest[len(_operands(line.rest)) + 1 :],
                    times[name],
                    name in scheduled,
                )
            )
    return found


# These move nothing: they name values, or their parts are counted by themselves.
FREE = frozenset(
    (
        *("parameter", "constant", "iota", "tuple", "get-tuple-element", "bitcast", "opt-barrier"),
        *("while", "conditional", "call", "after-all", "partition-id", "replica-id"),
    )
)
_SLICES = frozenset(("slice", "dynamic-slice"))


def memory_traffic(instruction: Instruction) -> int:
    """Bytes that an operation reads from and writes to main memory, padding included.

    Each operand counts once, and as a whole unless it is only sliced.
    """
    opcode = instruction.opcode
    if not instruction.is_scheduled or opcode in FREE or opcode.endswith("-done"):
        return 0
    if opcode in ("copy-start", "slice-start"):
        # From one place to another, of which on-chip memory does not count.
        ends = instruction.results[:2]
        copied = min(array.stored_bytes for array in ends)
        return copied * sum(array.in_main_memory for array in ends) * instruction.times
    written = sum(array.stored_bytes for array in instruction.results if array.in_main_memory)
    return (instruction.read + written) * instruction.times


class _Computation:
    """Its lines, and which of them make and use each value."""

    def __init__(self) -> None:
        self.lines: list[_Line] = []

    @cached_property
    def results(self) -> dict[str, tuple[Array, ...]]:
        return {line.name: tuple(_arrays(line.types)) for line in self.lines}

    @cached_property
    def operands(self) -> dict[str, list[str]]:
        return {line.name: re.findall(r"%([\w.\-]+)", _operands(line.rest)) for line in self.lines}

    @cached_property
    def uses(self) -> dict[str, list[tuple[_Line, int]]]:
        found = defaultdict(list)
        for line in self.lines:
            for place, name in enumerate(self.operands[line.name]):
                found[name].append((line, place))
        return found

    @cached_property
    def parameters(self) -> dict[int, str]:
        return {
            int(_operands(line.rest)): line.name
            for line in self.lines
            if line.opcode == "parameter"
        }


def _computations(text: str) -> tuple[dict[str, _Computation], str]:
    computations: dict[str, _Computation] = {}
    entry = ""
    computation = _Computation()
    for line in text.splitlines():
        if header := _COMPUTATION.match(line):
            computation = computations[header[2]] = _Computation()
            entry = header[2] if header[1] else entry
        elif instruction := _INSTRUCTION.match(line):
            computation.lines.append(_Line(*instruction.groups()))
    return computations, entry


def _bytes_read_by(
    computations: dict[str, _Computation], computation: _Computation, line: _Line
) -> int:
    if line.opcode in FREE:
        return 0
    return sum(
        _bytes_read(computations, computation, line, place)
        for place, operand in enumerate(computation.operands[line.name])
        if any(array.in_main_memory for array in computation.results.get(operand, ()))
    )


def _bytes_read(
    computations: dict[str, _Computation], computation: _Computation, line: _Line, place: int
) -> int:
    """What an operation reads of one operand: at most the whole, of which it may take slices."""
    operand = computation.operands[line.name][place]
    arrays = computation.results.get(operand, ())
    whole = sum(array.stored_bytes for array in arrays)
    if line.opcode in _SLICES and place == 0:
        return min(whole, sum(array.stored_bytes for array in computation.results[line.name]))
    called = [name for _, names in _CALLED.findall(line.rest) for name in _words(names)]
    if line.opcode != "fusion" or not called:
        return whole
    fused = computations[called[0]]
    parameter = fused.parameters.get(place)
    return min(whole, _bytes_used(computations, fused, parameter)) if parameter else whole


def _bytes_used(computations: dict[str, _Computation], computation: _Computation, name: str) -> int:
    """What a computation reads of one of its values, all of it if that is its result."""
    if name not in computation.uses:
        return sum(array.stored_bytes for array in computation.results[name])
    used = 0
    for line, place in computation.uses[name]:
        if line.opcode in ("bitcast", "reshape"):
            used += _bytes_used(computations, computation, line.name)
        else:
            used += _bytes_read(computations, computation, line, place)
    return used


def _calls(
    computations: dict[str, _Computation], entry: str
) -> tuple[dict[str, int], frozenset[str]]:
    """How often each computation runs, and which are scheduled: not parts of a fusion."""
    times: dict[str, int] = defaultdict(int)
    scheduled = set()

    def visit(computation: str, runs: int, by_itself: bool) -> None:
        times[computation] += runs
        if by_itself:
            scheduled.add(computation)
        for line in computations[computation].lines if computation in computations else ():
            apart = by_itself and line.opcode in ("while", "conditional", "call")
            for kind, names in _CALLED.findall(line.rest):
                if kind == "to_apply" and line.opcode != "call":
                    continue  # the sum of a reduction
                trips = _trips(line, computations) if line.opcode == "while" else 1
                for name in _words(names):
                    visit(name, runs * trips, apart)

    visit(entry, 1, True)
    return times, frozenset(scheduled)


def _words(names: str) -> list[str]:
    return re.findall(r"[\w.\-]+", names)


def _trips(loop: _Line, computations: dict[str, _Computation]) -> int:
    """How often a loop runs: as XLA noted it, or what its condition compares the counter with."""
    if noted := _TRIPS.search(loop.rest):
        return int(noted[1])
    condition = _CONDITION.search(loop.rest)
    lines = computations[condition[1]].lines if condition else []
    limits = [_CONSTANT.match(line.rest) for line in lines if line.opcode == "constant"]
    return max((int(limit[1]) for limit in limits if limit), default=1)


def _operands(rest: str) -> str:
    """The text up to the parenthesis that closes the operands."""
    depth = 1
    for end, character in enumerate(rest):
        depth += (character == "(") - (character == ")")
        if not depth:
            return rest[:end]
    return rest


def _arrays(types: str) -> Iterator[Array]:
    for dtype, dimensions, layout in _ARRAY.findall(types):
        shape = [int(side) for side in dimensions.split(",") if side]
        bits = _BITS[dtype]
        stored = math.prod(_padded(shape, layout)) * bits // 8
        yield Array(dtype, tuple(shape), stored, "S(" not in layout)


def _padded(shape: list[int], layout: str) -> list[int]:
    """The shape in memory, slowest axis first, rounded up to whole tiles."""
    order, _, tiling = layout.partition(":")
    tile = _TILE.search(tiling)
    if tile is None:
        return shape
    sides = [int(side) for side in tile[1].split(",")]
    stored = [shape[int(axis)] for axis in reversed(order.split(",")) if axis]
    stored = [1] * (len(sides) - len(stored)) + stored
    start = len(stored) - len(sides)
    return stored[:start] + [
        math.ceil(side / unit) * unit for side, unit in zip(stored[start:], sides, strict=True)
    ]
