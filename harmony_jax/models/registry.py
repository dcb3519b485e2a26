"""Models by their released names."""

import inspect
from collections.abc import Callable
from typing import Any

from flax import nnx

from harmony_jax.errors import InputError
from harmony_jax.models.dih import DeepImageHarmonization

# Released name -> class and the arguments that make it (released `mconfigs`).
_MODELS: dict[str, tuple[type[nnx.Module], dict[str, Any]]] = {
    "dih256": (DeepImageHarmonization, {"depth": 7}),
    "dih512": (DeepImageHarmonization, {"depth": 8}),
    "improved_dih256": (
        DeepImageHarmonization,
        {"depth": 7, "batchnorm_from": 2, "image_fusion": True},
    ),
    "improved_dih512": (
        DeepImageHarmonization,
        {"depth": 8, "batchnorm_from": 2, "image_fusion": True},
    ),
}


def list_models() -> list[str]:
    """Names that `create_model` takes, sorted."""
    return sorted(_MODELS)


def create_model(name: str, *, rngs: nnx.Rngs, **overrides: Any) -> nnx.Module:
    """Builds a freshly initialised model, in training mode (`model.eval()` for inference).

    Args:
        name: a released name, one of `list_models()`.
        rngs: source of the initial weights, such as `nnx.Rngs(0)`.
        **overrides: arguments of the model's class that differ from the released ones, such as
            `dtype=jnp.bfloat16` or a smaller `channels`.

    Returns:
        A module with `model(image, mask) -> Output`, NHWC.

    Raises:
        InputError: unknown name or override.
    """
    if name not in _MODELS:
        raise InputError(f"unknown model {name!r}: choose one of {', '.join(list_models())}")
    model_class, arguments = _MODELS[name]
    known = set(inspect.signature(model_class.__init__).parameters) - {"self", "rngs"}
    unknown = sorted(set(overrides) - known)
    if unknown:
        raise InputError(
            f"model {name!r} has no argument {unknown[0]!r}: choose from {', '.join(sorted(known))}"
        )
    build: Callable[..., nnx.Module] = model_class
    return build(**{**arguments, **overrides}, rngs=rngs)
