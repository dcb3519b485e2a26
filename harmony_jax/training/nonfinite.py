"""When a loss is not finite: all that the step saw goes to disk, and the step can be run again."""

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
from harmony_jax.errors import InputError, NonFiniteError
from harmony_jax.training.layout import TrainState
from harmony_jax.training.setup import set_up
from harmony_jax.weights.checkpoint import Checkpoints, Metadata
from harmony_jax.weights.steps import FOLDER, saved_steps


def save_dump(
    folder: Path, state: TrainState, batch: NamedBatch, metadata: Metadata, learning_rate: float
) -> NonFiniteError:
    """Saves the state that a step began with, and its batch.

    Args:
        folder: gets `checkpoints/STEP` (the state) and `batch_PROCESS.npz`.
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
    arrays: dict[str, Any] = {**batch.pixels, "names": np.array(batch.names)}
    np.savez(folder / f"batch_{jax.process_index()}.npz", **arrays)
    checkpoints = Checkpoints(folder / FOLDER)
    checkpoints.save(failed - 1, state.variables, state.optimizer, metadata)
    checkpoints.close()
    return NonFiniteError(
        f"step {failed}: loss or gradient is not finite (learning rate {learning_rate:g}, batch "
        f"{', '.join(batch.names)}): look with scripts/replay_step.py {folder}"
    )


def replay(folder: Path) -> dict[str, Any]:
    """Repeats the step that `save_dump` wrote to a folder, on one device.

    Returns:
        `step`, `samples`, `loss` and `gradient_norm` of the step; `parameters`, the names of those
        that are not finite before it; and `reproduced`, whether it is not finite again.
    """
    files = sorted(folder.glob("batch_*.npz"), key=lambda path: int(path.stem.split("_")[1]))
    parts = [np.load(path) for path in files]
    steps = saved_steps(folder / FOLDER)
    if not parts or not steps:
        raise InputError(f"{folder}: no dump of a failed step: pass the folder that training named")
    checkpoints, start = Checkpoints(folder / FOLDER), max(steps)
    metadata = checkpoints.metadata(start)
    config = ConfigDict(metadata["config"], convert_dict=True)
    training = set_up(config, create_mesh(1), metadata["data"]["samples"])
    variables = checkpoints.model(start, training.layout.trees.variables)
    optimizer_state = checkpoints.optimizer_state(start, training.layout.trees.optimizer)
    checkpoints.close()
    bad = [
        jax.tree_util.keystr(path, simple=True, separator=".")
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
        if not np.isfinite(np.asarray(leaf)).all()
    ]
    batch = {key: jnp.concatenate([part[key] for part in parts]) for key in PIXELS}
    state = training.layout.state_at(start, variables, optimizer_state)
    _, metrics = training.step(state, batch)
    loss, norm = float(metrics["loss"]), float(metrics["gradient_norm"])
    return {
        "step": start + 1,
        "samples": [str(name) for part in parts for name in part["names"]],
        "loss": loss,
        "gradient_norm": norm,
        "parameters": bad,
        "reproduced": not math.isfinite(loss + norm),
    }
