"""From a config to the parts of a run."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from harmony_jax.errors import InputError
from harmony_jax.models import HarmonizationModel, create_model

_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}

# Where the config does not say: training is as fast as the accelerator likes, and numbers that are
# reported or shown are exact.
TRAINING_PRECISION, EVALUATION_PRECISION = "default", "highest"


def model_arguments(config: ConfigDict) -> dict[str, Any]:
    """The config's model, without how it is computed; kept in checkpoints."""
    fields = config.model.to_dict()
    name = fields.pop("name")
    for computing in ("dtype", "precision"):
        fields.pop(computing, None)
    return {"name": name, "overrides": {k: v for k, v in fields.items() if v is not None}}


def compute_dtype(config: ConfigDict) -> Any:
    """The type of activations: `model.dtype`."""
    return _DTYPES[config.model.dtype]


def compute_precision(config: ConfigDict, unset: str) -> str:
    """How products of float32 are computed: `model.precision`, or `unset` if it is not set."""
    return config.get("model", {}).get("precision") or unset


def gradient_dtype(config: ConfigDict) -> Any:
    """The type that gradients of kernels are summed in."""
    name = config.train.gradient_dtype or config.model.dtype
    if name not in (config.model.dtype, "float32"):
        raise InputError(
            f"train.gradient_dtype {name!r}: choose float32, or leave it unset for model.dtype "
            f"({config.model.dtype})"
        )
    return _DTYPES[name]


def build_model(config: ConfigDict) -> HarmonizationModel:
    """Initialises the config's model from its seed, in training mode and training's precision."""
    if not config.model.name:
        raise InputError("model.name is not set: start from a config with a model")
    arguments = model_arguments(config)
    model = create_model(
        arguments["name"],
        rngs=nnx.Rngs(config.seed),
        dtype=compute_dtype(config),
        precision=compute_precision(config, unset=TRAINING_PRECISION),
        gradient_dtype=gradient_dtype(config),
        **arguments["overrides"],
    )
    model.check_image_size(config.data.image_size, config.data.image_size)
    return model
