"""What a training starts from: the first of these that exists.

1. The workdir's newest intact checkpoint: parameters, running statistics, optimizer and step
   (`Saving.resume`). Nothing below is read then.
2. `init.checkpoint`: parameters and running statistics of another model, as far as they fit.
3. `init.backbone`: ImageNet weights for the backbone.
4. The seed: random numbers, which also fill what 2 and 3 leave out.

In 2 to 4 the optimizer is fresh and the step is 0. Evaluation and prediction read none of it.
"""

import logging
from collections import Counter
from collections.abc import Iterable

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

_NUM_LISTED = 8  # arrays, or parts of a model, of each kind in the log

_LOGGER = logging.getLogger(__name__)


def initialize(
    model: HarmonizationModel, init: ConfigDict, sharding: Sharding | None = None
) -> None:
    """Fills a model, in place, with what the config says a training starts from.

    Args:
        model: freshly initialised from the seed.
        init: the config's section of this name.
        sharding: where a checkpoint is read to; by default this process's first device.
    """
    if init.checkpoint:
        if init.backbone:
            _LOGGER.warning(
                "init.backbone %s is not read: init.checkpoint takes precedence", init.backbone
            )
        _take_checkpoint(model, init.checkpoint, sharding)
    elif init.backbone:
        _take_backbone(model, init.backbone)
    elif isinstance(model, ForegroundAware):
        _LOGGER.warning("The backbone starts from random weights: init.backbone is not set")


def _take_checkpoint(model: HarmonizationModel, name: str, sharding: Sharding | None) -> None:
    """Takes the arrays whose key and shape agree, and logs which they are."""
    try:
        path = checkpoint_path(name)
        if is_weight_file(path):  # which model it holds does not matter
            place, arrays = path, read_state_dict(path)
        else:
            found, loaded = load_model(path, sharding)
            place, arrays = loaded.folder, to_torch_state_dict(found)
    except InputError as error:
        raise InputError(f"init.checkpoint {error}") from error
    shared = load_shared_arrays(model, arrays)
    if not shared.taken:
        raise InputError(
            f"init.checkpoint {name}: none of its {len(arrays)} arrays fits the model: choose a "
            "checkpoint of a model with the same base or backbone"
        )
    _LOGGER.info("Starting from %s: %s", place, _described(shared))


def _described(shared: Shared) -> str:
    """How many arrays were taken, and which were not."""
    total = len(shared.taken) + len(shared.new) + len(shared.reshaped)
    texts = [f"{len(shared.taken)} of the model's {total} arrays taken"]
    if shared.new:
        texts.append(f"{len(shared.new)} new ({_by_part(shared.new)})")
    if shared.reshaped:
        shapes = [
            f"{key} {_size(now)} instead of {_size(then)}"
            for key, (now, then) in shared.reshaped.items()
        ]
        texts.append(f"{len(shapes)} new as the shape differs ({_listed(shapes)})")
    if shared.unused:
        texts.append(f"{len(shared.unused)} unused ({_by_part(shared.unused)})")
    return "; ".join(texts)


def _by_part(keys: Iterable[str]) -> str:
    """How many keys begin with the same two names, such as `model.decoder 12`."""
    parts = Counter(".".join(key.split(".")[:2]) for key in sorted(keys))
    return _listed([f"{part} {count}" for part, count in parts.items()])


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a number"


def _listed(texts: list[str]) -> str:
    more = len(texts) - _NUM_LISTED
    return ", ".join(texts[:_NUM_LISTED]) + (f" and {more} more" if more > 0 else "")


def _take_backbone(model: HarmonizationModel, path: str) -> None:
    """Takes ImageNet weights of HRNet or ResNet-34 as a classifier (paper, section 4.2)."""
    try:
        taken, ignored = load_backbone_state_dict(model, read_state_dict(path))
    except InputError as error:
        text = str(error)
        place = "" if text.startswith(path) else f"{path}: "
        raise InputError(f"init.backbone {place}{text}") from error
    _LOGGER.info("Backbone from %s: %d arrays taken, %d ignored", path, taken, ignored)
