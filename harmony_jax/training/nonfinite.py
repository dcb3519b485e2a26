"""When a loss is not finite: all that the step saw goes to disk, and can be run again."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from harmony_jax.data.batching import PIXELS
from harmony_jax.data.training_data import NamedBatch
from harmony_jax.devices.mesh import create_mesh
from harmony_jax.disk import write_file
from harmony_jax.errors import InputError, NonFiniteError
from harmony_jax.training.continuation import completed
from harmony_jax.training.layout import TrainState
from harmony_jax.training.setup import set_up
from harmony_jax.weights.checkpoint import Checkpoints, Metadata
from harmony_jax.weights.steps import FOLDER

_REPORT = "report.json"


def save_dump(
    folder: Path, state: TrainState, batch: NamedBatch, metadata: Metadata, learning_rate: float
) -> NonFiniteError:
    """Saves the state that a step began with and its batch.

    Args:
        folder: gets `checkpoints/STEP` (the state), `batch_PROCESS.npz` and `report.json`.
        state: halted; the one before the failed step, as trees.
        batch: of the failed step.
        metadata: of the run's checkpoints.
        learning_rate: of the failed step.

    Returns:
        The error to raise, which names step, learning rate and the batch's samples.
    """
    failed = int(state.halted)
    if jax.process_index() == 0:
        shutil.rmtree(folder, ignore_errors=True)  # of an attempt with other settings
        folder.mkdir(parents=True)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(str(folder))
    names = np.array(batch.names)
    arrays: dict[str, Any] = {**batch.pixels, "names": names}
    np.savez(folder / f"batch_{jax.process_index()}.npz", **arrays)
    checkpoints = Checkpoints(folder / FOLDER)
    checkpoints.save(failed - 1, state.variables, state.optimizer, metadata)
    checkpoints.close()
    report = {
        "step": failed,
        "learning_rate": learning_rate,
    }
    if jax.process_index() == 0:
        write_file(folder / _REPORT, (json.dumps(report, indent=1) + "\n").encode())
    return NonFiniteError(
        f"step {failed}: loss or gradient is not finite (learning rate {learning_rate:g}, batch "
        f"{', '.join(batch.names)}): look with scripts/replay_step.py {folder}"
    )


def replay(folder: Path) -> dict[str, Any]:
    """Runs a dump's step again, on one device.

    Args:
        folder: as `save_dump` left it.

    Returns:
        `step`, `samples`, `loss` and `gradient_norm` of the step, and `parameters`: the names of
        those that are not finite before it.

    Raises:
        InputError: the folder is no dump.
    """
    try:
        report = json.loads((folder / _REPORT).read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder}: no dump of a failed step: pass the folder that training named"
        ) from error
    parts = [np.load(path) for path in sorted(folder.glob("batch_*.npz"), key=_process_of)]
    batch = {key: jnp.concatenate([part[key] for part in parts]) for key in PIXELS}
    checkpoints = Checkpoints(folder / FOLDER)
    metadata = checkpoints.metadata(report["step"] - 1)
    config = ConfigDict(completed(metadata["config"]), convert_dict=True)
    training = set_up(config, create_mesh(1), metadata["data"]["samples"])
    start = report["step"] - 1
    variables = checkpoints.model(start, training.layout.trees.variables)
    optimizer_state = checkpoints.optimizer_state(start, training.layout.trees.optimizer)
    checkpoints.close()
    named = jax.tree_util.tree_leaves_with_path(variables)
    bad = [
        jax.tree_util.keystr(path, simple=True, separator=".")
        for path, leaf in named
        if not np.isfinite(np.asarray(leaf)).all()
    ]
    _, metrics = training.step(training.state_at(start, variables, optimizer_state), batch)
    return {
        "step": report["step"],
        "samples": [str(name) for part in parts for name in part["names"]],
        "loss": float(metrics["loss"]),
        "gradient_norm": float(metrics["gradient_norm"]),
        "parameters": bad,
        "reproduced": not math.isfinite(float(metrics["loss"]) + float(metrics["gradient_norm"])),
    }


def _process_of(path: Path) -> int:
    return int(path.stem.rpartition("_")[2])
