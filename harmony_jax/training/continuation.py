"""Whether a training may continue with the config it is given: what must not have changed."""

import logging
import zlib
from functools import partial
from pathlib import Path
from typing import Any

from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from harmony_jax.build import model_arguments
from harmony_jax.data.sources import Source, sample_name
from harmony_jax.errors import InputError
from harmony_jax.weights.checkpoint import Metadata
from harmony_jax.workdir import code_version, plain

# Sections and fields that decide what is learnt from which batches, and what the state of the
# optimizer consists of ...
_FIXED = (
    *("model", "data", "loss", "seed", "train.batch_size", "train.accumulate"),
    *("optimizer.name", "optimizer.freeze"),
)
# ... except these, which say where the data is and how it is read and computed with.
_FREE = (
    "model.dtype",
    "model.precision",
    "data.root",
    "data.test_root",
    "data.masks",
    "data.num_workers",
    "data.unreadable",
)

_LOGGER = logging.getLogger(__name__)


def training_metadata(config: ConfigDict, source: Source) -> Metadata:
    """What a checkpoint keeps of the run: its config, data and code."""
    # The subset of one's own pictures is the folder's name, and a folder may move.
    name = partial(sample_name, source) if source.published else source.name
    names = (name(index) for index in range(len(source)))
    checksum = zlib.crc32("\n".join(names).encode(errors="surrogateescape"))
    return {
        "model": model_arguments(config),
        "image_size": config.data.image_size,
        "config": plain(config),
        "data": {"samples": len(source), "names": checksum},
        "version": code_version(),
    }


def check_continuation(found: Metadata, wanted: Metadata, folder: Path) -> None:
    """Compares a checkpoint with the training that is to continue from it.

    Other fields of the config may change, which is logged, as is another version of the code.

    Raises:
        InputError: the checkpoint does not come from a training; or the model, data, loss, batch
            size, seed, optimizer or frozen parameters differ, or only one of the two has a moving
            average. The message names every field that differs.
    """
    if "config" not in found:
        raise InputError(
            f"{folder}: holds weights alone: train in another workdir, with "
            f"init.checkpoint={folder}"
        )
    before, now = (flatten_dict(metadata["config"], sep=".") for metadata in (found, wanted))
    if {before["data.placement"], now["data.placement"]} == {"device", "host"}:
        del before["data.placement"]  # both give the same batches
    # Fields that only one version of the code has are not the user's choice.
    changed = [key for key in now if key in before and before[key] != now[key]]
    refused = [key for key in changed if _within(key, _FIXED) and not _within(key, _FREE)]
    if bool(before["train.ema_decay"]) != bool(now["train.ema_decay"]):
        refused.append("train.ema_decay")  # a checkpoint has an average, or has none
    differences = [f"{key} {before[key]} where the config has {now[key]}" for key in refused]
    if not refused and found["data"] != wanted["data"]:
        differences = [_other_samples(found["data"], wanted["data"], before, now)]
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
    commits = [
        metadata["version"].get("commit", "without a commit") for metadata in (wanted, found)
    ]
    if commits[0] != commits[1]:
        _LOGGER.warning("Continuing with code %s instead of %s", *commits)


def _other_samples(
    found: dict[str, int], wanted: dict[str, int], before: dict[str, Any], now: dict[str, Any]
) -> str:
    """What differs in the training samples, and why if that is known."""
    others = " others" if found["samples"] == wanted["samples"] else ""
    text = f"{found['samples']} training samples where data.root has {wanted['samples']}{others}"
    every = "evaluation.every_epochs"
    if (before[every] > 0) != (now[every] > 0):
        text += f" (it began with {every} {before[every]}; with 0 nothing is held out)"
    return text


def _within(key: str, prefixes: tuple[str, ...]) -> bool:
    return any(key == prefix or key.startswith(f"{prefix}.") for prefix in prefixes)
