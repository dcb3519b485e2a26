"""The authors' PyTorch models, from a clone of their repository."""

import copy
import logging
import sys
import types
from pathlib import Path
from typing import Any

import jax
import numpy as np

_LOG = "iharm.utils.log"


def released_model(clone: Path, name: str) -> Any:
    """One of the authors' models, on the CPU, as their training makes it.

    Ends the program if the clone has none of this name, or PyTorch is not installed.
    """
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError:
        sys.exit("error: --released needs PyTorch: pip install 'harmony_jax[torch]'")
    if not (clone / "iharm" / "mconfigs").is_dir():
        sys.exit(f"error: --released={clone}: no clone of saic-vul/image_harmonization there")
    if str(clone) not in sys.path:
        sys.path.insert(0, str(clone))
    np.int = int  # type: ignore[attr-defined]  # their code predates NumPy 1.24
    # Their log imports TensorBoard, which their models do not need.
    log: Any = types.ModuleType(_LOG)
    log.logger = logging.getLogger(_LOG)
    log.SummaryWriterAvg = log.TqdmToLogger = object
    sys.modules.setdefault(_LOG, log)
    from iharm.mconfigs import ALL_MCONFIGS

    if name not in ALL_MCONFIGS:
        sys.exit(f"error: {clone} has no configuration {name}: choose {', '.join(ALL_MCONFIGS)}")
    config = copy.deepcopy(ALL_MCONFIGS[name])  # making a model changes it
    return config["model"](**config["params"])


def released_loss(output: Any, target: Any, mask: Any) -> Any:
    """Their foreground-normalised MSE with A_min 100, of tensors [batch, channels, ...]."""
    square = (output.float() - target) ** 2
    return (square.sum((1, 2, 3)) / (3 * mask.sum((1, 2, 3)).clamp(min=100))).mean()


def check_device() -> None:
    """Ends the program unless JAX and PyTorch compute on the same kind of device."""
    import torch

    if (jax.default_backend() == "gpu") != torch.cuda.is_available():
        sys.exit(
            f"error: JAX computes on {jax.devices()[0].device_kind}, PyTorch "
            f"{'on a GPU' if torch.cuda.is_available() else 'on the CPU'}: install both for the "
            "same device"
        )
