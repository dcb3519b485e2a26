"""Which devices a collective operation joins, from its text."""

import math
import re

import numpy as np

_LISTS = re.compile(r"replica_groups=\{(\{[\d,]+\}(?:,\{[\d,]+\})*)\}")
# Numbers 0, 1, ... in a grid, transposed, and in rows: a group each.
_IOTA = re.compile(r"replica_groups=\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
# Some axes, or parts of them, of a mesh of named axes.
_MESH = re.compile(r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\(([^{]*)\))? \{([^}]*)\}")
_AXIS = re.compile(r"'([^']+)'=(\d+)")
_PART = re.compile(r"'([^']+)'(?::\((\d+)\)(\d+))?")
_ORDER = re.compile(r"\[([\d,]+)\](?:T\(([\d,]+)\))?")


def device_groups(attributes: str, devices: int) -> np.ndarray:
    """The devices that exchange values with one another.

    Args:
        attributes: of the operation (`Instruction.attributes`).
        devices: of the whole program.

    Returns:
        Numbers of devices [groups, devices of each], in the order of the mesh; one group of all
        where the text names none.
    """
    if lists := _LISTS.search(attributes):
        return np.array([_numbers(group) for group in lists[1].strip("{}").split("},{")])
    if iota := _IOTA.search(attributes):
        return _order(iota[3], iota[4]).reshape(int(iota[1]), int(iota[2]))
    if mesh := _MESH.search(attributes):
        return _of_mesh(*mesh.groups())
    return np.arange(devices)[None]


def _of_mesh(axes_text: str, ids_text: str | None, parts_text: str) -> np.ndarray:
    axes = {name: int(size) for name, size in _AXIS.findall(axes_text)}
    if ids_text is None:
        ids = np.arange(math.prod(axes.values()))
    elif order := _ORDER.fullmatch(ids_text):
        ids = _order(order[1], order[2])
    else:
        ids = np.array(_numbers(ids_text))
    # Each axis as [before, part, behind]; one that is named as a whole is all part.
    parts = {
        name: (int(before or 1), int(size or axes[name]))
        for name, before, size in _PART.findall(parts_text)
    }
    shape: list[int] = []
    joined: list[int] = []
    for name, length in axes.items():
        before, size = parts.get(name, (length, 1))
        joined.append(len(shape) + 1)
        shape += [before, size, length // (before * size)]
    grid = np.moveaxis(ids.reshape(shape), joined, range(-len(joined), 0))
    return grid.reshape(-1, math.prod(shape[axis] for axis in joined))


def _order(dimensions: str, permutation: str | None) -> np.ndarray:
    shape = _numbers(dimensions)
    grid = np.arange(math.prod(shape)).reshape(shape)
    return (grid.transpose(_numbers(permutation)) if permutation else grid).reshape(-1)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]
