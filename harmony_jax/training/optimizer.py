"""The optimizer and its schedule."""

from typing import Any

import jax
import optax
from ml_collections import ConfigDict

from harmony_jax.errors import InputError
from harmony_jax.models import is_pretrained


def learning_rate_schedule(optimizer: ConfigDict, steps_per_epoch: float) -> optax.Schedule:
    """Constant rate, multiplied by `optimizer.decay` after each milestone.

    Args:
        optimizer: the config's `optimizer` section (configs/base.py); milestones in epochs.
        steps_per_epoch: need not be whole: epochs follow one another without a gap.
    """
    drops = {round(epoch * steps_per_epoch): optimizer.decay for epoch in optimizer.milestones}
    return optax.piecewise_constant_schedule(optimizer.learning_rate, drops)


def create_optimizer(
    optimizer: ConfigDict, schedule: optax.Schedule
) -> optax.GradientTransformation:
    """Adam with the config's constants (paper, section 4.2).

    The pre-trained parts of a backbone learn at `optimizer.backbone_rate` times the rate. With
    `optimizer.clip_norm`, gradients are first scaled down to that norm, of all together.

    Raises:
        InputError: a negative norm.
    """
    if optimizer.clip_norm < 0:
        raise InputError(
            f"optimizer.clip_norm {optimizer.clip_norm}: must be positive, or 0 for no limit"
        )
    limit = optax.clip_by_global_norm(optimizer.clip_norm)
    return optax.chain(
        limit if optimizer.clip_norm else optax.identity(),
        optax.scale_by_adam(b1=optimizer.b1, b2=optimizer.b2, eps=optimizer.eps),
        optax.multi_transform(
            {"pretrained": optax.scale(optimizer.backbone_rate), "new": optax.identity()},
            rate_labels,
        ),
        optax.scale_by_learning_rate(schedule),
    )


def learning_rates(optimizer: ConfigDict, params: Any) -> dict[str, float]:
    """The rates that parameters learn at, by a name for each: times the learning rate."""
    labels = set(jax.tree.leaves(rate_labels(params)))
    names = {
        "new": ("learning_rate", 1.0),
        "pretrained": ("learning_rate_backbone", optimizer.backbone_rate),
    }
    return dict(names[label] for label in sorted(labels))


def rate_labels(params: Any) -> Any:
    """The tree of parameters with `pretrained` or `new` in place of each."""

    def label(path: Any, _: Any) -> str:
        dotted = jax.tree_util.keystr(path, simple=True, separator=".")
        return "pretrained" if is_pretrained(dotted) else "new"

    return jax.tree_util.tree_map_with_path(label, params)
