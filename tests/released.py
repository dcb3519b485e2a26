"""The released models' measured values: weights and inputs by formula, and the golden files."""

import gzip
import json
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from harmony_jax import create_model, load_torch_state_dict, to_torch_state_dict
from harmony_jax.models import HarmonizationModel

GOLDEN = Path(__file__).parent / "golden"


def golden(name: str) -> dict:
    """A golden file's arrays, with its JSON entries decoded."""
    with np.load(GOLDEN / f"{name}.npz") as file:
        arrays = {key: file[key] for key in file.files}
    for key in ("state_dict", "grad_norms", "lr_mult", "bn_after_step1_norms"):
        if key in arrays:
            arrays[key] = json.loads(arrays[key].tobytes())
    return arrays


def evaluation_of_composites() -> dict:
    """Released metrics of the mini set's test composites taken as predictions."""
    return json.loads((GOLDEN / "evaluation_composite.json").read_text())


def imagenet_keys(name: str) -> dict:
    """Of an HRNet model's ImageNet checkpoint: `imagenet_keys` and how many are `loaded`."""
    return json.loads(gzip.decompress((GOLDEN / "imagenet_hrnet_keys.json.gz").read_bytes()))[name]


def make_weights(keys_and_shapes: list, seed: int = 0) -> dict[str, np.ndarray]:
    """A released model's whole state_dict from its keys and shapes."""
    return {key: _weight(key, tuple(shape), seed) for key, shape in keys_and_shapes}


def filled_model(name: str, **overrides: Any) -> HarmonizationModel:
    """A model, in training mode, with weights by formula."""
    model = create_model(name, rngs=nnx.Rngs(0), **overrides)
    shapes = [(key, array.shape) for key, array in to_torch_state_dict(model).items()]
    load_torch_state_dict(model, make_weights(shapes))
    return model


@lru_cache(maxsize=2500)  # several models have one backbone
def _weight(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    if "mask_blurring" in key:  # no weight: the fixed Gaussian, 7x7 with sigma 1
        y, x = np.mgrid[-3:4, -3:4]
        gaussian = np.exp(-(y**2 + x**2) / 2)
        return (gaussian / gaussian.sum()).astype(np.float32).reshape(shape)
    r = np.random.RandomState((zlib.crc32(key.encode()) + seed) % 2**32)
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if key.endswith("running_var"):
        value = r.uniform(0.5, 1.5, shape)
    elif key.endswith("running_mean"):
        value = 0.1 * r.standard_normal(shape)
    elif key.endswith(".scale"):
        value = r.uniform(0.2, 0.6, shape)
    elif key.endswith(".bias"):
        value = 0.1 * r.standard_normal(shape)
    elif len(shape) == 1:
        value = r.uniform(0.5, 1.1, shape)
    else:
        value = r.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
    return value.astype(np.float32)


def make_inputs(
    seed: int, size: tuple[int, int], batch: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, mask and target in [0, 1], float32: [batch, height, width, 3], 1 and 3 channels."""
    height, width = size
    r = np.random.RandomState(seed)

    def rand(*shape: int) -> np.ndarray:
        return np.asarray(r.rand(*shape), np.float32)

    low = rand(batch, 8, 8, 3)
    blocks = np.kron(low, np.ones((1, height // 8, width // 8, 1), np.float32))
    image = blocks * np.float32(0.8) + np.float32(0.2) * rand(batch, height, width, 3)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    mask = np.zeros((batch, height, width, 1), np.float32)
    for i in range(batch):
        cy, cx = (np.float32(side * (0.3 + 0.4 * rand())) for side in (height, width))
        ry, rx = (np.float32(side * (0.1 + 0.2 * rand())) for side in (height, width))
        mask[i, :, :, 0] = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1
    shift = (rand(batch, 1, 1, 3) - np.float32(0.5)) * np.float32(0.4)
    return image, mask, np.clip(image + mask * shift, 0, 1).astype(np.float32)
