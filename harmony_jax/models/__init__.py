"""Models. Nothing here knows data, training or configs."""

from harmony_jax.models.blending import Output
from harmony_jax.models.registry import create_model, list_models

__all__ = ["Output", "create_model", "list_models"]
