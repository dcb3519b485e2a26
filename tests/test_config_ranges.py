"""Every field of a config has its allowed values, or is named here as unrestricted."""

import math

import pytest
from ml_collections import ConfigDict

from configs import base
from harmony_jax import InputError
from harmony_jax.config_ranges import RANGES, check_config

UNRESTRICTED = {
    # Paths and names, which are looked up when they are read.
    *("init.checkpoint", "init.backbone", "data.root", "data.test_root", "data.masks"),
    # True or False, which ConfigDict enforces.
    *("model.multiscale", "data.random_crop", "data.random_flip", "train.recompute"),
    "evaluation.flip",
    # Patterns and options, which are compared with the model's parameters and XLA's.
    *("optimizer.freeze", "train.compiler_options"),
}
MAY_BE_ZERO = {
    *("seed", "profile", "model.pyramid_channels", "model.ocr_channels", "model.dropout"),
    *("model.attend_from", "data.regions_per_photo", "data.validation_fraction"),
    *("data.validation_seed", "data.num_workers", "optimizer.b1", "optimizer.b2"),
    *("optimizer.weight_decay", "optimizer.backbone_rate", "optimizer.warmup_epochs"),
    *("optimizer.final_rate", "optimizer.clip_norm", "train.ema_decay", "mesh.devices"),
    *("mesh.shards", "evaluation.every_epochs", "evaluation.image_size"),
    *("evaluation.num_pictures", "checkpoint.every_epochs", "checkpoint.every_minutes"),
}


def flat(config: ConfigDict, prefix: str = "") -> dict:
    """The fields of a config by their full names."""
    found = {}
    for name, value in config.items():
        inner = flat(value, f"{prefix}{name}.") if isinstance(value, ConfigDict) else None
        found |= {f"{prefix}{name}": value} if inner is None else inner
    return found


FIELDS = flat(base.get_config())
COMPOSITES = sorted(name for name in FIELDS if name.startswith("data.composites."))


def refused(field: str, value: object) -> None:
    """Not even a Python caller can give the field this value."""
    config = base.get_config()
    section, _, name = field.rpartition(".")
    place = config
    for part in filter(None, section.split(".")):
        place = place[part]
    with place.ignore_type():
        place[name] = value
    with pytest.raises(InputError, match=f"^{field} ".replace(".", r"\.")) as error:
        check_config(config)
    assert "\n" not in str(error.value)


def test_no_field_is_forgotten():
    check_config(base.get_config())
    assert FIELDS.keys() == RANGES.keys() | UNRESTRICTED | {*COMPOSITES}


@pytest.mark.parametrize("field", RANGES)
def test_values_out_of_range_are_refused_by_name(field):
    default = FIELDS[field]
    wrong = ["unheard-of", -2, math.nan, math.inf, -math.inf]
    if field not in MAY_BE_ZERO:
        wrong.append(0)
    for value in wrong:
        refused(field, (value,) if isinstance(default, tuple) else value)


@pytest.mark.parametrize("field", COMPOSITES)
def test_a_recipe_out_of_range_is_refused_by_name(field):
    for value in ("much", -0.5, math.nan, math.inf):
        refused(field, (value, value) if isinstance(FIELDS[field], tuple) else value)


@pytest.mark.parametrize("field", sorted(MAY_BE_ZERO))
def test_a_zero_that_has_a_meaning_is_allowed(field):
    config = base.get_config()
    config.update_from_flattened_dict({field: 0})
    check_config(config)


@pytest.mark.parametrize(
    ("field", "value"),
    [("optimizer.b1", 1), ("train.ema_decay", 1), ("optimizer.final_rate", 1.1), ("seed", 2**32)],
)
def test_values_above_are_refused(field, value):
    refused(field, value)
