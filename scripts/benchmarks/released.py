"""The authors' PyTorch models, from a clone of their repository."""

import copy
import logging
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np

_LOG = "iharm.utils.log"


def released_model(clone: Path, name: str) -> Any:
    """One of the authors' models, on the CPU, as their training makes it.

    Ends the program as `released_configurations` does.
    """
    config = copy.deepcopy(released_configurations(clone, name)[name])  # making a model changes it
    return config["model"](**config["params"])


def released_configurations(clone: Path, name: str) -> dict[str, Any]:
    """Those of the clone, by name.

    Ends the program where the clone has none of this name, or PyTorch is not installed.
    """
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError:
        sys.exit("error: --released needs PyTorch: pip install 'harmony_jax[torch]'")
    if not (clone / "iharm" / "mconfigs").is_dir():
        sys.exit(f"error: --released={clone}: no clone of saic-vul/image_harmonization there")
    if str(clone) not in sys.path:
        sys.path.insert(0, str(clone))
    np.int = int  # type: ignore[attr-defined]  # their code is older than NumPy 1.24
    # Their log asks for TensorBoard, which models do without.
    log: Any = types.ModuleType(_LOG)
    log.logger = logging.getLogger(_LOG)
    log.SummaryWriterAvg = log.TqdmToLogger = object
    sys.modules.setdefault(_LOG, log)
    from iharm.mconfigs import ALL_MCONFIGS

    if name not in ALL_MCONFIGS:
        sys.exit(f"error: {clone} has no configuration {name}: choose {', '.join(ALL_MCONFIGS)}")
    return ALL_MCONFIGS


def released_loss(output: Any, target: Any, mask: Any) -> Any:
    """Their foreground-normalised MSE with A_min 100, of tensors [batch, channels, ...]."""
    square = (output.float() - target) ** 2
    return (square.sum((1, 2, 3)) / (3 * mask.sum((1, 2, 3)).clamp(min=100))).mean()
