"""Parameters that training leaves as they are, by patterns on their names."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import jax
from flax import nnx

from harmony_jax.errors import InputError


def parameter_name(path: Any) -> str:
    """The names from the model's root to a variable, joined by dots.

    Args:
        path: of a leaf in a tree of parameters, as `jax.tree_util` gives it.
    """
    return jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value")


def is_frozen(name: str, patterns: Sequence[str]) -> bool:
    """Whether one of the patterns (`*`, `?`, `[abc]`; a `*` also takes dots) is of this name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def frozen_stopped(params: Any, patterns: Sequence[str]) -> Any:
    """The tree of parameters, with no gradient to the frozen ones: none of it is computed."""
    if not patterns:
        return params

    def stop(path: Any, leaf: Any) -> Any:
        return jax.lax.stop_gradient(leaf) if is_frozen(parameter_name(path), patterns) else leaf

    return jax.tree_util.tree_map_with_path(stop, params)


def freeze_parts(model: nnx.Module, patterns: Sequence[str]) -> None:
    """Sets parts whose parameters are all frozen to evaluation mode, as `part.eval()` in PyTorch.

    Their batch normalisation takes its running statistics, and leaves them as they are; they have
    no dropout.

    Args:
        model: in training mode; abstract or not. Changed in place.
        patterns: `optimizer.freeze`.

    Raises:
        InputError: a pattern of no parameter, or nothing is left to train.
    """
    if not patterns:
        return
    leaves = jax.tree_util.tree_leaves_with_path(nnx.state(model, nnx.Param))
    names = [parameter_name(path) for path, _ in leaves]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            parts = ", ".join(sorted({f"{name.partition('.')[0]}.*" for name in names}))
            raise InputError(
                f"optimizer.freeze {pattern!r}: no parameter has such a name: the model's parts "
                f"are {parts}"
            )
    trained = [name for name in names if not is_frozen(name, patterns)]
    if not trained:
        raise InputError(
            f"optimizer.freeze {tuple(patterns)}: nothing is left to train: name fewer parts"
        )
    for path, module in nnx.iter_modules(model):
        prefix = "".join(f"{name}." for name in path)
        if any(name.startswith(prefix) for name in names) and not any(
            name.startswith(prefix) for name in trained
        ):
            module.eval()
