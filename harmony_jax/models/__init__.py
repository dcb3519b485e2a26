"""Models. Nothing here knows data, training or configs."""

from harmony_jax.models.foreground_aware import imagenet_key, is_pretrained
from harmony_jax.models.interfaces import HarmonizationModel, Output
from harmony_jax.models.registry import (
    create_model,
    list_backbones,
    list_models,
    parse_argument,
    released_image_size,
)

__all__ = [
    "HarmonizationModel",
    "Output",
    "create_model",
    "imagenet_key",
    "is_pretrained",
    "list_backbones",
    "list_models",
    "parse_argument",
    "released_image_size",
]
