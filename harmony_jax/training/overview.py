"""What a model is made of, as a table at the start of a training."""

import math
from typing import Any

import jax
from ml_collections import ConfigDict

from harmony_jax.training.freezing import parameter_name
from harmony_jax.training.optimizer import rate_labels


def parameter_table(params: Any, optimizer: ConfigDict) -> str:
    """Parameters by part of the model, a line each, with shapes counted and the rate they learn at.

    Args:
        params: the tree of parameters, concrete or abstract.
        optimizer: the config's section, with the rate of pre-trained parameters, times the learning
            rate, and those that are frozen.
    """
    rows: dict[tuple[str, str], list[int]] = {}
    rates = {
        "new": "x 1",
        "pretrained": f"x {optimizer.backbone_rate:g}",
        "frozen": "frozen",
    }
    labels = jax.tree.leaves(rate_labels(params, tuple(optimizer.freeze)))
    leaves = jax.tree_util.tree_leaves_with_path(params)
    for (path, leaf), label in zip(leaves, labels, strict=True):
        part = _part(parameter_name(path))
        rows.setdefault((part, rates[label]), []).append(math.prod(leaf.shape))
    width = max(len(part) for part, _ in rows)
    lines = [f"{'part':{width}} {'arrays':>7} {'parameters':>12}  rate"]
    lines += [
        f"{part:{width}} {len(sizes):7d} {sum(sizes):12,d}  {rate}"
        for (part, rate), sizes in rows.items()
    ]
    total = [size for sizes in rows.values() for size in sizes]
    return "\n".join([*lines, f"{'all':{width}} {len(total):7d} {sum(total):12,d}"])


def _part(dotted: str) -> str:
    """The first two names of a path, without the numbers of layers."""
    names = [name for name in dotted.split(".")[:-1] if not name.isdigit()]
    return ".".join(names[:2]) or dotted
