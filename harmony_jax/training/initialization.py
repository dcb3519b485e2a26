"""What a training starts from: the first that there is, in this order.

1. The workdir's newest intact checkpoint: parameters, running statistics, optimizer and step
   (`Training.resume`). Nothing below is read again.
2. `init.checkpoint`: parameters and running statistics of another model, as far as they fit.
3. `init.backbone`: ImageNet weights for the backbone.
4. The seed: random numbers, which also fill what 2 and 3 leave.

In 2 to 4 the optimizer is fresh and the step is 0. Evaluation and prediction read none of it.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable

import numpy as np
from jax.sharding import Sharding
from ml_collections import ConfigDict

from harmony_jax.errors import InputError
from harmony_jax.models import HarmonizationModel
from harmony_jax.models.foreground_aware import ForegroundAware
from harmony_jax.weights.files import is_weight_file, read_state_dict
from harmony_jax.weights.released import checkpoint_path
from harmony_jax.weights.saved_model import load_model
from harmony_jax.weights.torch_keys import (
    Shared,
    load_backbone_state_dict,
    load_shared_arrays,
    to_torch_state_dict,
)

_NUM_LISTED = 8  # parts of a model in the log, of each kind

_LOGGER = logging.getLogger(__name__)


def initialize(
    model: HarmonizationModel, init: ConfigDict, sharding: Sharding | None = None
) -> None:
    """Fills a model, in place, with what the config says a training starts from.

    Args:
        model: freshly initialised from the seed.
        init: the config's section of this name (configs/base.py).
        sharding: where a checkpoint is read to; by default this process's first device.

    Raises:
        InputError: what is named cannot be read, or has nothing for this model.
    """
    if init.checkpoint:
        if init.backbone:
            _LOGGER.warning(
                "init.backbone %s is not read: init.checkpoint goes before it", init.backbone
            )
        _take_checkpoint(model, init.checkpoint, sharding)
    elif init.backbone:
        _take_backbone(model, init.backbone)
    elif isinstance(model, ForegroundAware):
        _LOGGER.warning("The backbone starts from random weights: init.backbone is not set")


def _take_checkpoint(model: HarmonizationModel, name: str, sharding: Sharding | None) -> None:
    """Takes the arrays whose key and shape agree, and logs which they are.

    Args:
        name: a workdir, its `checkpoints` folder or one step's, a weight file, `ready`, or the
            name of a released model.
    """
    try:
        place, arrays = _read(name, sharding)
    except InputError as error:
        raise InputError(f"init.checkpoint {error}") from error
    shared = load_shared_arrays(model, arrays)
    if not shared.taken:
        raise InputError(
            f"init.checkpoint {name}: no array of it fits the model ({len(arrays)} there): choose "
            "a checkpoint of a model with the same base or backbone"
        )
    _LOGGER.info("Starting from %s: %s", place, _told(shared))


def _read(name: str, sharding: Sharding | None) -> tuple[str, dict[str, np.ndarray]]:
    """The arrays by their PyTorch keys, and where they were."""
    path = checkpoint_path(name)
    if is_weight_file(path):  # which model it holds does not matter
        return str(path), read_state_dict(path)
    found, loaded = load_model(path, sharding)
    return str(loaded.folder), to_torch_state_dict(found)


def _told(shared: Shared) -> str:
    """How many arrays were taken, and by parts of the model which were not."""
    taken, new = set(shared.taken), set(shared.new)
    parts = [
        (f"{len(new)} new", _grouped(new, taken | new | shared.reshaped.keys())),
        (
            f"{len(shared.reshaped)} new as the shape differs",
            [
                f"{key} {_size(now)} instead of {_size(then)}"
                for key, (now, then) in shared.reshaped.items()
            ],
        ),
        (
            f"{len(shared.unused)} unused",
            _grouped(shared.unused, {*shared.unused, *taken, *shared.reshaped}),
        ),
    ]
    texts = [f"{title} ({_listed(groups)})" for title, groups in parts if groups]
    total = len(taken) + len(new) + len(shared.reshaped)
    return "; ".join([f"{len(taken)} of the model's {total} arrays taken", *texts])


def _grouped(keys: Iterable[str], among: Iterable[str]) -> list[str]:
    """The fewest parts of a model that hold these keys and no other of those there are.

    Returns:
        Such as "backbone" for all keys that begin with it, in order.
    """
    chosen = set(keys)
    others: dict[str, bool] = defaultdict(bool)  # part -> whether another key is in it
    for key in among:
        for part in _parts(key):
            others[part] |= key not in chosen
    groups = {next(part for part in _parts(key) if not others[part]) for key in chosen}
    return sorted(groups)


def _parts(key: str) -> list[str]:
    """`a`, `a.b` and `a.b.c` of `a.b.c`."""
    names = key.split(".")
    return [".".join(names[: number + 1]) for number in range(len(names))]


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a number"


def _listed(texts: list[str]) -> str:
    shown = ", ".join(texts[:_NUM_LISTED])
    return shown if len(texts) <= _NUM_LISTED else f"{shown} and {len(texts) - _NUM_LISTED} more"


def _take_backbone(model: HarmonizationModel, path: str) -> None:
    """Takes ImageNet weights (paper, section 4.2); all but the pre-trained part stays random.

    Args:
        path: a weight file (`read_state_dict`) of HRNet or ResNet-34 as a classifier.
    """
    try:
        state_dict = read_state_dict(path)
    except InputError as error:  # which begins with the path
        raise InputError(f"init.backbone {error}") from error
    try:
        taken, ignored = load_backbone_state_dict(model, state_dict)
    except InputError as error:
        raise InputError(f"init.backbone {path}: {error}") from error
    _LOGGER.info("Backbone from %s: %d arrays taken, %d ignored", path, taken, ignored)
