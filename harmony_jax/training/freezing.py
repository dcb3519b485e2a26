"""Parameters that training leaves as they are, chosen by patterns on their names."""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import jax
from flax import nnx

from harmony_jax.errors import InputError


def parameter_name(path: Any) -> str:
    """The dotted name of a variable, from the path of its leaf in a tree of parameters."""
    return jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value")


def map_named(change: Callable[[str, Any], Any], params: Any) -> Any:
    """The tree of parameters with `change(name, leaf)` in place of each leaf."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: change(parameter_name(path), leaf), params
    )


def is_frozen(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name matches one of the patterns (`*`, `?`, `[abc]`; `*` also matches dots)."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def freeze_parts(model: nnx.Module, patterns: Sequence[str]) -> None:
    """Sets parts whose parameters are all frozen to evaluation mode, as `part.eval()` in PyTorch.

    Their batch normalisation uses its running statistics and leaves them as they are; they have no
    dropout.

    Args:
        model: in training mode; abstract or not. Changed in place.
        patterns: `optimizer.freeze`.
    """
    if not patterns:
        return
    leaves = jax.tree_util.tree_leaves_with_path(nnx.state(model, nnx.Param))
    names = [parameter_name(path) for path, _ in leaves]
    for pattern in patterns:
        if not any(is_frozen(name, (pattern,)) for name in names):
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
        has_parameters = any(name.startswith(prefix) for name in names)
        if has_parameters and not any(name.startswith(prefix) for name in trained):
            module.eval()
