"""What a model is made of, as a table at the start of a training."""

import math
from typing import Any

import jax

from harmony_jax.training.optimizer import rate_labels


def parameter_table(params: Any, backbone_rate: float) -> str:
    """Parameters by part of the model, a line each, with shapes counted and the rate they learn at.

    Args:
        params: the tree of parameters, concrete or abstract.
        backbone_rate: times the learning rate, of pre-trained parameters.
    """
    rows: dict[tuple[str, float], list[int]] = {}
    labels = jax.tree.leaves(rate_labels(params))
    leaves = jax.tree_util.tree_leaves_with_path(params)
    for (path, leaf), label in zip(leaves, labels, strict=True):
        dotted = jax.tree_util.keystr(path, simple=True, separator=".")
        rate = backbone_rate if label == "pretrained" else 1.0
        rows.setdefault((_part(dotted), rate), []).append(math.prod(leaf.shape))
    width = max(len(part) for part, _ in rows)
    lines = [f"{'part':{width}} {'arrays':>7} {'parameters':>12}  rate"]
    lines += [
        f"{part:{width}} {len(sizes):7d} {sum(sizes):12,d}  x {rate:g}"
        for (part, rate), sizes in rows.items()
    ]
    total = [size for sizes in rows.values() for size in sizes]
    return "\n".join([*lines, f"{'all':{width}} {len(total):7d} {sum(total):12,d}"])


def _part(dotted: str) -> str:
    """The first two names of a path, without the numbers of layers."""
    names = [name for name in dotted.split(".")[:-1] if not name.isdigit()]
    return ".".join(names[:2]) or dotted
