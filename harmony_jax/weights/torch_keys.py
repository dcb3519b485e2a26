"""Weights of PyTorch models, to Flax and back: the released ones, and ImageNet's for backbones.

Modules are named after the released ones, so a parameter's path differs from its PyTorch key only
in the last name. One small table of names and axes serves every model.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx

from harmony_jax.errors import InputError
from harmony_jax.models import imagenet_key

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

# Modules that only classifiers have: HRNet's and the ResNet's.
_CLASSIFIER_HEADS = ("classifier", "downsamp_modules", "final_layer", "incre_modules", "fc")

_COUNTER = ".num_batches_tracked"  # PyTorch had none before 0.4.1

_NUM_LISTED = 10  # keys in an error, of each kind


class _Leaf(NamedTuple):
    variable: nnx.Variable
    axes: tuple[int, ...]  # in PyTorch's order; empty: as they are


class BackboneLoad(NamedTuple):
    """How many of a classifier's arrays a backbone took, and how many were of its head."""

    taken: int
    ignored: int


class Shared(NamedTuple):
    """What a model has in common with another one's arrays, by PyTorch key.

    Attributes:
        taken: keys with the same shape in both.
        new: keys of the model only.
        reshaped: keys of both with different shapes: the model's, and the other one's.
        unused: keys of the other one only.
    """

    taken: list[str]
    new: list[str]
    reshaped: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    unused: list[str]


def load_torch_state_dict(model: nnx.Module, state_dict: Mapping[str, np.ndarray]) -> None:
    """Fills a model, in place, with a released state_dict.

    Args:
        model: from `create_model`; may be abstract (`nnx.eval_shape`), so that nothing is
            initialised twice.
        state_dict: PyTorch key to array, as `{k: v.numpy() for k, v in torch_dict.items()}`. A
            missing, unknown or misshapen key is an InputError.
    """
    _fill(_torch_leaves(model), state_dict, "the model")


def load_backbone_state_dict(
    model: nnx.Module, state_dict: Mapping[str, np.ndarray]
) -> BackboneLoad:
    """Fills the pre-trained part of a model's backbone, in place, from an ImageNet classifier.

    That part (`harmony_jax.models.is_pretrained`) is HRNet without its OCR head, or the ResNet-34
    in DeepLab: parameters and running statistics.

    Args:
        model: from `create_model`, with a backbone.
        state_dict: the classifier's, PyTorch key to array. Its head is ignored. The counters
            `num_batches_tracked`, which old checkpoints lack, may be missing. Any other missing,
            unknown or misshapen key is an InputError, and the model is unchanged.
    """
    leaves = {}
    for key, leaf in _torch_leaves(model).items():
        if (name := imagenet_key(key)) is not None:
            leaves[name] = leaf
    if not leaves:
        raise InputError("the model has no backbone for it: choose a model with one, or no file")
    found = {
        key: value
        for key, value in state_dict.items()
        if key.partition(".")[0] not in _CLASSIFIER_HEADS
    }
    needed = {
        key: leaf for key, leaf in leaves.items() if key in found or not key.endswith(_COUNTER)
    }
    try:
        _fill(needed, found, "the backbone")
    except InputError as error:
        raise InputError(f"{error} (weights of another network, or of another width?)") from error
    return BackboneLoad(len(needed), len(state_dict) - len(needed))


def load_shared_arrays(model: nnx.Module, state_dict: Mapping[str, np.ndarray]) -> Shared:
    """Fills a model, in place, with those arrays of another one whose key and shape agree.

    A counter `num_batches_tracked` is taken together with its statistics.

    Args:
        model: whose other arrays are unchanged.
        state_dict: PyTorch key to array, of any model.
    """
    leaves = _torch_leaves(model)
    shapes = {key: _torch_shape(variable.shape, axes) for key, (variable, axes) in leaves.items()}
    both = [key for key in leaves if key in state_dict]
    fitting = {key for key in both if np.shape(state_dict[key]) == shapes[key]}
    taken = [
        key
        for key in both
        if key in fitting
        and (not key.endswith(_COUNTER) or key.replace(_COUNTER, ".running_mean") in fitting)
    ]
    _fill({key: leaves[key] for key in taken}, {key: state_dict[key] for key in taken}, "the model")
    return Shared(
        taken=taken,
        new=[key for key in leaves if key not in state_dict or key in fitting.difference(taken)],
        reshaped={
            key: (shapes[key], np.shape(state_dict[key])) for key in both if key not in fitting
        },
        unused=[key for key in state_dict if key not in leaves],
    )


def to_torch_state_dict(model: nnx.Module) -> dict[str, np.ndarray]:
    """Inverse of `load_torch_state_dict`: PyTorch key to array (float32, counters int64)."""
    return {
        key: np.transpose(_numpy(variable), axes or None)
        for key, (variable, axes) in _torch_leaves(model).items()
    }


def torch_key(path: tuple[Any, ...], ndim: int) -> tuple[str, tuple[int, ...]]:
    """PyTorch's key of the variable at an NNX path, and our axes in PyTorch's order."""
    name, axes = _LEAVES[str(path[-1])]
    return ".".join(str(part) for part in (*path[:-1], name)), axes.get(ndim, ())


def _torch_leaves(model: nnx.Module) -> dict[str, _Leaf]:
    leaves = {}
    for path, variable in nnx.to_flat_state(nnx.state(model, (nnx.Param, nnx.BatchStat))):
        key, axes = torch_key(path, len(variable.shape))
        leaves[key] = _Leaf(variable, axes)
    return leaves


def _fill(leaves: Mapping[str, _Leaf], state_dict: Mapping[str, np.ndarray], what: str) -> None:
    _check_fits(
        {key: _torch_shape(variable.shape, axes) for key, (variable, axes) in leaves.items()},
        {key: np.shape(value) for key, value in state_dict.items()},
        what,
    )
    for key, (variable, axes) in leaves.items():
        value = np.transpose(state_dict[key], np.argsort(axes) if axes else None)
        variable.set_value(jnp.asarray(value, variable.dtype))


def _torch_shape(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(shape[axis] for axis in axes) if axes else tuple(shape)


def _numpy(variable: nnx.Variable) -> np.ndarray:
    value = np.asarray(variable.get_value())
    return value.astype(np.int64) if value.dtype.kind == "i" else value


def _check_fits(
    expected: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]], what: str
) -> None:
    shared = expected.keys() & found.keys()
    problems = {
        "missing": sorted(expected.keys() - found.keys()),
        f"not in {what}": sorted(found.keys() - expected.keys()),
        "of another shape": [
            f"{key} {found[key]} instead of {expected[key]}"
            for key in sorted(shared)
            if found[key] != expected[key]
        ],
    }
    parts = [f"{len(keys)} {kind}: {_listed(keys)}" for kind, keys in problems.items() if keys]
    if parts:
        raise InputError(f"the state_dict does not fit {what}; keys {'; '.join(parts)}")


def _listed(keys: list[str]) -> str:
    """The first keys, as those of another model would fill a screen."""
    shown = ", ".join(keys[:_NUM_LISTED])
    return shown if len(keys) <= _NUM_LISTED else f"{shown} and {len(keys) - _NUM_LISTED} more"
