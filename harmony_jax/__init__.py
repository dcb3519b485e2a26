"""Image harmonization in JAX: makes the pasted foreground of a composite photo fit."""

from harmony_jax.errors import InputError
from harmony_jax.evaluation.run import evaluate
from harmony_jax.models import Output, create_model, list_models
from harmony_jax.normalization import denormalize, normalize
from harmony_jax.photos.harmonizer import Harmonizer
from harmony_jax.weights.torch_keys import load_torch_state_dict, to_torch_state_dict

__all__ = [
    "Harmonizer",
    "InputError",
    "Output",
    "create_model",
    "denormalize",
    "evaluate",
    "list_models",
    "load_torch_state_dict",
    "normalize",
    "to_torch_state_dict",
]
