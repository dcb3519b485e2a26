"""From a config to the parts of a run."""

import logging
from typing import Any

import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from harmony_jax.errors import InputError
from harmony_jax.models import HarmonizationModel, create_model
from harmony_jax.models.arithmetic import PRECISIONS
from harmony_jax.models.foreground_aware import ForegroundAware
from harmony_jax.weights.files import read_state_dict
from harmony_jax.weights.torch_keys import load_backbone_state_dict

_LOGGER = logging.getLogger(__name__)

_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}

# Where the config does not say: training takes the accelerator's speed, numbers that are reported
# or shown are exact.
TRAINING_PRECISION, EVALUATION_PRECISION = "default", "highest"


def model_arguments(config: ConfigDict) -> dict[str, Any]:
    """What identifies the config's model, not how it is computed; kept in checkpoints."""
    fields = config.model.to_dict()
    name = fields.pop("name")
    for computing in ("dtype", "precision"):
        fields.pop(computing, None)
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


def compute_precision(config: ConfigDict, unset: str) -> str:
    """How products of float32 are computed: `model.precision`, or `unset` if the config has none.

    Raises:
        InputError: the field is not known.
    """
    name = config.get("model", {}).get("precision") or unset
    if name not in PRECISIONS:
        raise InputError(f"model.precision {name!r}: choose {', '.join(PRECISIONS)}")
    return name


def gradient_dtype(config: ConfigDict) -> Any:
    """The type that gradients of kernels are summed in; raises InputError if it cannot be."""
    name = config.train.gradient_dtype or config.model.dtype
    if name not in (config.model.dtype, "float32"):
        raise InputError(
            f"train.gradient_dtype {name!r}: choose float32, or leave it unset for model.dtype "
            f"({config.model.dtype})"
        )
    return _DTYPES[name]


def build_model(config: ConfigDict) -> HarmonizationModel:
    """Initialises the config's model from its seed, in training mode and training's precision.

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
        precision=compute_precision(config, unset=TRAINING_PRECISION),
        gradient_dtype=gradient_dtype(config),
        **arguments["overrides"],
    )
    model.check_image_size(config.data.image_size, config.data.image_size)
    return model


def initialize_backbone(model: HarmonizationModel, path: str) -> None:
    """Fills the model's backbone, in place, with ImageNet weights (paper, section 4.2).

    Args:
        model: freshly initialised; all but the pre-trained part stays so.
        path: `init.backbone`, a weight file (`read_state_dict`) of HRNet or ResNet-34 as a
            classifier; empty: the backbone stays random, which is logged.

    Raises:
        InputError: the file cannot be read or is not of this backbone, or there is no backbone.
    """
    if not path:
        if isinstance(model, ForegroundAware):
            _LOGGER.warning("The backbone starts from random weights: init.backbone is not set")
        return
    try:
        state_dict = read_state_dict(path)
    except InputError as error:  # which begins with the path
        raise InputError(f"init.backbone {error}") from error
    try:
        taken, ignored = load_backbone_state_dict(model, state_dict)
    except InputError as error:
        raise InputError(f"init.backbone {path}: {error}") from error
    _LOGGER.info("Backbone from %s: %d arrays taken, %d ignored", path, taken, ignored)
