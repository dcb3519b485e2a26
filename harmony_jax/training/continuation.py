"""Whether a training may continue with the config it is given: what must not have changed."""

import logging
import zlib
from functools import partial
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from harmony_jax.build import model_arguments
from harmony_jax.data.sources import Source, sample_name
from harmony_jax.errors import InputError
from harmony_jax.weights.checkpoint import Metadata
from harmony_jax.workdir import code_version, plain

# Sections and fields that decide what is learnt from which batches ...
_FIXED = (
    *("model", "data", "loss", "seed", "train.batch_size", "train.accumulate"),
    # These also decide what the optimizer's state consists of.
    *("optimizer.name", "optimizer.freeze"),
)
# ... but for those that say where the data is, and how it is computed with and read.
_FREE = (
    "model.dtype",
    "model.precision",
    "data.root",
    "data.test_root",
    "data.masks",
    "data.num_workers",
    "data.unreadable",
)

# What older code did, whose checkpoints have no such field.
_BEFORE: dict[str, Any] = {
    "optimizer.schedule": "piecewise",
    "optimizer.warmup_epochs": 0.0,
    "optimizer.batch_rule": "none",
    "optimizer.name": "adam",
    "optimizer.weight_decay": 0.0,
    "optimizer.freeze": [],
    "train.ema_decay": 0.0,
    "train.compiler_options": [],
}

_LOGGER = logging.getLogger(__name__)


def training_metadata(config: ConfigDict, source: Source) -> Metadata:
    """What a checkpoint keeps of the run: its config, data and code."""
    return {
        "model": model_arguments(config),
        "image_size": config.data.image_size,
        "config": plain(config),
        "data": {"samples": len(source), "names": _checksum_of_names(config, source)},
        "version": code_version(),
    }


def check_continuation(found: Metadata, wanted: Metadata, folder: Path) -> None:
    """Compares a checkpoint with the training that is to continue from it.

    Other fields of the config may change, which is logged, as is another version of the code.

    Args:
        found: the checkpoint's metadata.
        wanted: `training_metadata` of the config in hand.
        folder: the checkpoint's.

    Raises:
        InputError: the model, the data, the loss, the batch, the seed, the optimizer or what it
            freezes is another, or there is a moving average in one of the two; it names every field
            that differs. Or the checkpoint does not come from a training.
    """
    if "config" not in found:
        raise InputError(
            f"{folder}: holds weights alone, or is of an older version: train in another workdir, "
            f"with --config.init.checkpoint={folder}"
        )
    before, now = flat(completed(found["config"])), flat(wanted["config"])
    if {before.get("data.placement"), now["data.placement"]} == {"device", "host"}:
        del before["data.placement"]  # both give the same batches
    # A field that is new to the code, or gone from it, is no choice of the person.
    changed = [key for key in now if key in before and before[key] != now[key]]
    refused = [key for key in changed if _within(key, _FIXED) and not _within(key, _FREE)]
    if bool(before["train.ema_decay"]) != bool(now["train.ema_decay"]):
        refused.append("train.ema_decay")  # a checkpoint has an average, or has none
    differences = [f"{key} {before[key]} where the config has {now[key]}" for key in refused]
    if not refused and found["data"] != wanted["data"]:
        differences = [
            f"{found['data']['samples']} training samples where data.root has "
            f"{wanted['data']['samples']}"
            + (" others" if found["data"]["samples"] == wanted["data"]["samples"] else "")
            + _reason_of_other_samples(before, now)
        ]
    if differences:
        raise InputError(
            f"{folder}: trained with {'; '.join(differences)}: use the same config and data, or "
            "another workdir"
        )
    for key in changed:
        if _within(key, ("init",)):
            _LOGGER.warning("%s %s is not read: training has begun already", key, now[key])
        else:
            _LOGGER.warning("Continuing with %s %s instead of %s", key, now[key], before[key])
    if found["version"].get("commit") != wanted["version"].get("commit"):
        _LOGGER.warning(
            "Continuing with code %s instead of %s",
            wanted["version"].get("commit", "without a commit"),
            found["version"].get("commit", "without a commit"),
        )


def _reason_of_other_samples(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Why the same data may give other samples: more or fewer are held out; empty if unknown."""
    every = "evaluation.every_epochs"
    if (before.get(every, 0) > 0) != (now[every] > 0):
        return f" (it began with {every} {before.get(every)}; with 0 nothing is held out)"
    return ""


def completed(config: dict[str, Any]) -> dict[str, Any]:
    """An older checkpoint's config with the fields that it has not, as the code then behaved."""
    sections = {name: dict(v) if isinstance(v, dict) else v for name, v in config.items()}
    for name, value in _BEFORE.items():
        section, field = name.split(".")
        sections[section].setdefault(field, value)
    return sections


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A config's fields by their dotted names, such as `train.epochs`."""
    fields: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            fields |= flat(value, f"{prefix}{key}.")
        else:
            fields[f"{prefix}{key}"] = value
    return fields


def _within(key: str, prefixes: tuple[str, ...]) -> bool:
    return any(key == prefix or key.startswith(f"{prefix}.") for prefix in prefixes)


def _checksum_of_names(config: ConfigDict, source: Source) -> int:
    # The subset of one's own pictures is the folder's name, and a folder may move.
    own = config.data.name in ("pairs", "photos")
    name = source.name if own else partial(sample_name, source)
    names = (name(index) for index in range(len(source)))
    return zlib.crc32("\n".join(names).encode())
