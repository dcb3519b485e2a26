"""Image harmonization in JAX: makes the pasted foreground of a composite photo fit.

Functions of this package raise `InputError`, a one-line `ValueError`, for bad input. The names here
are imported when they are first used: a `Harmonizer` needs no library of data sets or training.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_MODULES = {
    "Harmonizer": "photos.harmonizer",
    "InputError": "errors",
    "Output": "models",
    "create_model": "models",
    "denormalize": "normalization",
    "evaluate": "evaluation.run",
    "list_models": "models",
    "load_torch_state_dict": "weights.torch_keys",
    "normalize": "normalization",
    "to_torch_state_dict": "weights.torch_keys",
}


if not TYPE_CHECKING:  # type checkers would take any name for one

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
