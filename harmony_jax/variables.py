"""A model's arrays, apart from its structure, as functional training passes them around."""

from typing import Any, NamedTuple

from flax import nnx


class Variables(NamedTuple):
    """What a model computes with: each an `nnx.State`, or a dict as training steps hold it."""

    params: Any
    batch_stats: Any


def split(model: nnx.Module) -> tuple[nnx.GraphDef, Variables]:
    """The model's structure and its variables; `nnx.merge(graph, *variables)` joins them."""
    graph, *states = nnx.split(model, nnx.Param, nnx.BatchStat)
    return graph, Variables(*states)
