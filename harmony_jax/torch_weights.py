"""Weights of the released PyTorch models, to Flax and back.

Modules are named after the released ones, so a parameter's path is its PyTorch key but for the
last name, and one small table of names and axes serves every model.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from harmony_jax.errors import InputError

# Our leaf -> PyTorch's, and the axes of ours in PyTorch's order by number of dimensions.
# Transposed convolutions keep the kernel of the convolution they transpose, as PyTorch does.
_LEAVES: dict[str, tuple[str, dict[int, tuple[int, ...]]]] = {
    "kernel": ("weight", {2: (1, 0), 4: (3, 2, 0, 1)}),
    "bias": ("bias", {}),
    "scale": ("weight", {}),
    "factor": ("scale", {}),
    "mean": ("running_mean", {}),
    "var": ("running_var", {}),
    "num_batches_tracked": ("num_batches_tracked", {}),
}


def load_torch_state_dict(model: nnx.Module, state_dict: Mapping[str, np.ndarray]) -> None:
    """Fills a model, in place, with a released state_dict.

    Args:
        model: from `create_model`; may be abstract (`nnx.eval_shape`), so that nothing is
            initialised twice.
        state_dict: PyTorch key to array, as `{k: v.numpy() for k, v in torch_dict.items()}`.

    Raises:
        InputError: a key is missing, left over or of another shape.
    """
    leaves = _torch_leaves(model)
    _check_fits(
        {key: _torch_shape(variable.shape, axes) for key, (_, variable, axes) in leaves.items()},
        {key: np.shape(value) for key, value in state_dict.items()},
    )
    for key, (_, variable, axes) in leaves.items():
        value = np.transpose(state_dict[key], np.argsort(axes) if axes else None)
        variable.set_value(jnp.asarray(value, variable.dtype))


def to_torch_state_dict(model: nnx.Module) -> dict[str, np.ndarray]:
    """Inverse of `load_torch_state_dict`: PyTorch key to array (float32, counters int64)."""
    return {
        key: np.transpose(_numpy(variable), axes or None)
        for key, (_, variable, axes) in _torch_leaves(model).items()
    }


def torch_key(path: tuple[Any, ...], ndim: int) -> tuple[str, tuple[int, ...]]:
    """PyTorch's key of the variable at an NNX path, and our axes in PyTorch's order."""
    name, axes = _LEAVES[str(path[-1])]
    return ".".join(str(part) for part in (*path[:-1], name)), axes.get(ndim, ())


def _torch_leaves(model: nnx.Module) -> dict[str, tuple[Any, nnx.Variable, tuple[int, ...]]]:
    leaves = {}
    for path, variable in nnx.to_flat_state(nnx.state(model, (nnx.Param, nnx.BatchStat))):
        key, axes = torch_key(path, len(variable.shape))
        leaves[key] = (path, variable, axes)
    return leaves


def _torch_shape(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(shape[axis] for axis in axes) if axes else tuple(shape)


def _numpy(variable: nnx.Variable) -> np.ndarray:
    value = np.asarray(variable.get_value())
    return value.astype(np.int64) if value.dtype.kind == "i" else value


def _check_fits(expected: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]]) -> None:
    shared = expected.keys() & found.keys()
    problems = {
        "missing": sorted(expected.keys() - found.keys()),
        "not in the model": sorted(found.keys() - expected.keys()),
        "of another shape": [
            f"{key} {found[key]} instead of {expected[key]}"
            for key in sorted(shared)
            if found[key] != expected[key]
        ],
    }
    parts = [f"{len(keys)} {what}: {', '.join(keys)}" for what, keys in problems.items() if keys]
    if parts:
        raise InputError(f"the state_dict does not fit the model; keys {'; '.join(parts)}")
