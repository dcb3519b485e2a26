"""A model's arrays, apart from its structure: what functional training passes around."""

from typing import NamedTuple

from flax import nnx


class Variables(NamedTuple):
    """What a model computes with."""

    params: nnx.State
    batch_stats: nnx.State


def split(model: nnx.Module) -> tuple[nnx.GraphDef, Variables]:
    """The model's structure and its variables; `nnx.merge(graph, *variables)` joins them."""
    graph, *states = nnx.split(model, nnx.Param, nnx.BatchStat)
    return graph, Variables(*states)
