"""From a config to the parts of a run."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from harmony_jax.errors import InputError
from harmony_jax.models import HarmonizationModel, create_model

_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def model_arguments(config: ConfigDict) -> dict[str, Any]:
    """What identifies the config's model, apart from its compute type; kept in checkpoints."""
    fields = config.model.to_dict()
    name = fields.pop("name")
    fields.pop("dtype")
    return {"name": name, "overrides": {k: v for k, v in fields.items() if v is not None}}


def check_numbers(config: ConfigDict) -> None:
    """Raises InputError, naming the field, if a count of the config is not a positive one."""
    for name in (
        "data.image_size",
        "data.resident_size",
        "train.batch_size",
        "train.epochs",
        "train.accumulate",
        "train.log_every_steps",
        "evaluation.batch_size",
        "checkpoint.keep_newest",
    ):
        section, field = name.split(".")
        if config[section][field] < 1:
            raise InputError(f"{name} {config[section][field]}: must be at least 1")


def compute_dtype(config: ConfigDict) -> Any:
    """Raises InputError unless `model.dtype` is known."""
    if config.model.dtype not in _DTYPES:
        raise InputError(f"model.dtype {config.model.dtype!r}: choose {' or '.join(_DTYPES)}")
    return _DTYPES[config.model.dtype]


def build_model(config: ConfigDict) -> HarmonizationModel:
    """Initialises the config's model from its seed, in training mode.

    Raises:
        InputError: unknown model, argument or type, or an image size that it cannot take.
    """
    if not config.model.name:
        raise InputError("model.name is not set: start from a config with a model")
    arguments = model_arguments(config)
    model = create_model(
        arguments["name"],
        rngs=nnx.Rngs(config.seed),
        dtype=compute_dtype(config),
        **arguments["overrides"],
    )
    model.check_image_size(config.data.image_size, config.data.image_size)
    return model
