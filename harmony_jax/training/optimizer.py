"""The optimizer, its schedule, and which parameters learn at which rate."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import optax
from ml_collections import ConfigDict

from harmony_jax.errors import InputError
from harmony_jax.models import is_pretrained
from harmony_jax.training.freezing import is_frozen, map_named

# Images per step of the published recipe, for which `optimizer.learning_rate` was chosen.
BASE_BATCH_SIZE = 16

# `optimizer.batch_rule`: from the batch size, in multiples of that one, to the rate's factor.
_BATCH_RULES: dict[str, Callable[[float], float]] = {
    "none": lambda _: 1.0,
    "linear": lambda times: times,
    "sqrt": math.sqrt,
}


def batch_factor(config: ConfigDict) -> float:
    """What `optimizer.batch_rule` multiplies the learning rate by.

    The linear rule is that of Goyal et al. (https://arxiv.org/abs/1706.02677), made for SGD; for
    Adam, Malladi et al. (https://arxiv.org/abs/2205.10287) derive the square root. Both are
    relative to `BASE_BATCH_SIZE`.
    """
    rule = _BATCH_RULES[config.optimizer.batch_rule]
    return rule(config.train.batch_size / BASE_BATCH_SIZE)


def learning_rate_schedule(config: ConfigDict, steps_per_epoch: float) -> optax.Schedule:
    """The learning rate by steps already done: `optimizer.schedule`, after a linear warm-up.

    `steps_per_epoch` need not be whole.
    """
    section, epochs = config.optimizer, config.train.epochs
    if section.warmup_epochs >= epochs:
        raise InputError(
            f"optimizer.warmup_epochs {section.warmup_epochs}: must be less than train.epochs "
            f"({epochs})"
        )
    rate = section.learning_rate * batch_factor(config)
    warmup = round(section.warmup_epochs * steps_per_epoch)
    left = max(math.floor(epochs * steps_per_epoch) - warmup, 1)
    main: optax.Schedule
    if section.schedule == "piecewise":
        if warmup and min(section.milestones, default=math.inf) < section.warmup_epochs:
            raise InputError(
                f"optimizer.milestones {tuple(section.milestones)}: must not lie in the warm-up "
                f"of {section.warmup_epochs} epochs"
            )
        drops = {
            round(epoch * steps_per_epoch) - warmup: section.decay for epoch in section.milestones
        }
        main = optax.piecewise_constant_schedule(rate, drops)
    elif section.schedule == "cosine":
        main = optax.cosine_decay_schedule(rate, left, alpha=section.final_rate)
    elif section.schedule == "linear":
        main = optax.linear_schedule(rate, rate * section.final_rate, left)
    else:
        main = optax.constant_schedule(rate)
    if not warmup:
        return main
    return optax.join_schedules([optax.linear_schedule(0.0, rate, warmup), main], [warmup])


def create_optimizer(
    optimizer: ConfigDict, schedule: optax.Schedule
) -> optax.GradientTransformation:
    """Adam with the config's constants (paper, section 4.2), or AdamW.

    The pre-trained parts of a backbone learn at `optimizer.backbone_rate` times the rate. With
    `optimizer.clip_norm`, gradients are first scaled down to that norm, taken over all of them.
    AdamW (Loshchilov and Hutter, https://arxiv.org/abs/1711.05101) also shrinks kernels, by
    `optimizer.weight_decay` times their rate. Frozen parameters (`optimizer.freeze`) stay as they
    are and have no moments.
    """
    decay = optimizer.weight_decay
    if decay and optimizer.name == "adam":
        raise InputError(
            f"optimizer.weight_decay {decay}: only optimizer.name adamw decays weights"
        )
    # Their order is in checkpoints: without clipping the first stays in its place.
    limit = optimizer.clip_norm
    parts = [
        optax.clip_by_global_norm(limit) if limit else optax.identity(),
        optax.scale_by_adam(b1=optimizer.b1, b2=optimizer.b2, eps=optimizer.eps),
    ]
    if optimizer.name == "adamw":
        kernels = partial(map_named, lambda name, _: treatment(name)[1])
        parts.append(optax.add_decayed_weights(decay, kernels))
    parts += [
        optax.multi_transform(
            {"pretrained": optax.scale(optimizer.backbone_rate), "new": optax.identity()},
            rate_labels,
        ),
        optax.scale_by_learning_rate(schedule),
    ]
    trained = optax.chain(*parts)
    freeze = tuple(optimizer.freeze)
    if not freeze:
        return trained
    return optax.multi_transform(
        {"trained": trained, "frozen": optax.set_to_zero()},
        partial(map_named, lambda name, _: "frozen" if is_frozen(name, freeze) else "trained"),
    )


def learning_rates(optimizer: ConfigDict, params: Any) -> dict[str, float]:
    """The rates that parameters learn at, by a name for each, as factors of the learning rate."""
    labels = set(jax.tree.leaves(rate_labels(params, tuple(optimizer.freeze))))
    names = {
        "new": ("learning_rate", 1.0),
        "pretrained": ("learning_rate_backbone", optimizer.backbone_rate),
    }
    return dict(names[label] for label in sorted(labels - {"frozen"}))


def treatment(name: str, freeze: Sequence[str] = ()) -> tuple[str, bool]:
    """How the optimizer treats a parameter of this name; `freeze` are patterns.

    Parameters that are treated alike may share a vector (`layout`), so every rule that depends on a
    parameter's name belongs here.

    Returns:
        `frozen`, `pretrained` or `new`; and whether it is a kernel, not a bias or a norm's scale.
    """
    label = "pretrained" if is_pretrained(name) else "new"
    return "frozen" if is_frozen(name, freeze) else label, name.rpartition(".")[2] == "kernel"


def rate_labels(params: Any, freeze: Sequence[str] = ()) -> Any:
    """The tree of parameters with `frozen`, `pretrained` or `new` in place of each."""
    return map_named(lambda name, _: treatment(name, freeze)[0], params)
