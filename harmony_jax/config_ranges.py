"""The values that each field of a config may have, checked before anything is read."""

from collections.abc import Callable
from math import inf
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from harmony_jax.build import gradient_dtype
from harmony_jax.data.composites.recipe import Recipe
from harmony_jax.data.iharmony4 import SUBSETS
from harmony_jax.data.splits import DATA_SETS
from harmony_jax.errors import InputError
from harmony_jax.models import list_backbones, list_models
from harmony_jax.models.arithmetic import PRECISIONS
from harmony_jax.models.feature_fusion import FUSE_INTO, FUSE_MODES
from harmony_jax.models.foreground_aware import MASK_FUSIONS
from harmony_jax.weights.checkpoint import BEST


class _Range(NamedTuple):
    allows: Callable[[Any], bool]
    expected: str


def _words(*words: str) -> _Range:
    return _Range(lambda value: value in words, f"choose {', '.join(words)}")


# A NaN is in none of them.
_COUNT = _Range(lambda value: 1 <= value < inf, "must be at least 1")
_NOT_NEGATIVE = _Range(lambda value: 0 <= value < inf, "must be 0 or more")
_POSITIVE = _Range(lambda value: 0 < value < inf, "must be more than 0")
_SHARE = _Range(lambda value: 0 <= value <= 1, "must be from 0 to 1")
_BELOW_1 = _Range(lambda value: 0 <= value < 1, "must be from 0 to less than 1")
_SEED = _Range(lambda value: 0 <= value < 2**32, "must be from 0 to 4294967295")
_WORKERS = _Range(lambda value: -1 <= value < inf, "must be -1 (one a core) or more")

# By field; of a tuple, each of its elements. Unset fields (None) are always allowed.
RANGES = {
    "seed": _SEED,
    "model.name": _words(*list_models()),
    "model.dtype": _words("float32", "bfloat16"),
    "model.precision": _words(*PRECISIONS),
    "model.depth": _COUNT,
    "model.channels": _COUNT,
    "model.max_channels": _COUNT,
    "model.backbone": _words(*list_backbones()),
    "model.fuse_into": _words(*FUSE_INTO),
    "model.fuse_mode": _words(*FUSE_MODES),
    "model.mask_fusion": _words(*MASK_FUSIONS),
    "model.pyramid_channels": _NOT_NEGATIVE,
    "model.ocr_channels": _NOT_NEGATIVE,
    "model.width": _COUNT,
    "model.deeplab_channels": _COUNT,
    "model.dropout": _BELOW_1,
    "model.attend_from": _NOT_NEGATIVE,
    "model.init_variance": _POSITIVE,
    "data.name": _words(*DATA_SETS),
    "data.regions_per_photo": _NOT_NEGATIVE,
    "data.subsets": _words(*SUBSETS),
    "data.image_size": _COUNT,
    "data.validation_fraction": _BELOW_1,
    "data.validation_seed": _SEED,
    "data.num_workers": _WORKERS,
    "data.placement": _words("stream", "device", "host"),
    "data.resident_size": _COUNT,
    "data.unreadable": _words("error", "skip"),
    "loss.name": _words("fn_mse", "mse"),
    "loss.min_area": _POSITIVE,
    "optimizer.name": _words("adam", "adamw"),
    "optimizer.learning_rate": _POSITIVE,
    "optimizer.b1": _BELOW_1,
    "optimizer.b2": _BELOW_1,
    "optimizer.eps": _POSITIVE,
    "optimizer.weight_decay": _NOT_NEGATIVE,
    "optimizer.backbone_rate": _NOT_NEGATIVE,
    "optimizer.schedule": _words("piecewise", "cosine", "linear", "constant"),
    "optimizer.warmup_epochs": _NOT_NEGATIVE,
    "optimizer.milestones": _POSITIVE,
    "optimizer.decay": _POSITIVE,
    "optimizer.final_rate": _SHARE,
    "optimizer.batch_rule": _words("none", "linear", "sqrt"),
    "optimizer.clip_norm": _NOT_NEGATIVE,
    "train.batch_size": _COUNT,
    "train.epochs": _COUNT,
    "train.accumulate": _COUNT,
    "train.gradient_dtype": _words("float32", "bfloat16"),
    "train.ema_decay": _BELOW_1,
    "train.log_every_steps": _COUNT,
    "mesh.devices": _NOT_NEGATIVE,
    "mesh.shards": _NOT_NEGATIVE,
    "evaluation.every_epochs": _NOT_NEGATIVE,
    "evaluation.batch_size": _COUNT,
    "evaluation.split": _words("test", "validation", "train"),
    "evaluation.resize": _words("square", "longest", "none"),
    "evaluation.image_size": _NOT_NEGATIVE,
    "evaluation.longest_side": _COUNT,
    "evaluation.num_pictures": _NOT_NEGATIVE,
    "checkpoint.every_epochs": _NOT_NEGATIVE,
    "checkpoint.every_minutes": _NOT_NEGATIVE,
    "checkpoint.keep_newest": _COUNT,
    "checkpoint.best_metric": _words(*BEST),
    "profile": _NOT_NEGATIVE,
}


def check_config(config: ConfigDict) -> None:
    """Raises InputError, naming the field, if a value is out of its range.

    Sections and fields that a config lacks are not checked.
    """
    fields = config.to_dict()
    for name, (allows, expected) in RANGES.items():
        section, _, field = name.rpartition(".")
        value = (fields.get(section, {}) if section else fields).get(field)
        several = value if isinstance(value, (tuple, list)) else (value,)
        if value is not None and not all(_holds(allows, one) for one in several):
            raise InputError(f"{name} {value!r}: {expected}")
    if "composites" in fields.get("data", {}):
        Recipe.of(config.data.composites)
    if "train" in fields:
        gradient_dtype(config)


def _holds(allows: Callable[[Any], bool], value: Any) -> bool:
    try:
        return allows(value)
    except TypeError:  # a word among numbers
        return False
