"""A photo with an object, and parameters that change one thing alone."""

import cv2
import numpy as np

from harmony_jax.data.composites.parameters import Parameters
from harmony_jax.data.composites.recipe import KINDS
from harmony_jax.data.composites.statistics import QUANTILES


def made_photo(seed: int = 0, side: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """A photo of smooth colours, none of them near black or white, and a disk's mask."""
    rng = np.random.default_rng(seed)
    low, high = np.sort(rng.integers(60, 200, (2, 3)), axis=0)
    coarse = rng.integers(low, high + 20, (6, 6, 3)).astype(np.uint8)
    photo = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    mask = np.zeros((side, side), np.uint8)
    cv2.circle(mask, (side // 2 + 4, side // 2 - 3), side // 4, 255, -1)
    return photo, mask


def parameters(kind: str = "unchanged", **others: object) -> Parameters:
    """Those of one composite that stay neutral but for what is given."""
    ramp = np.broadcast_to(np.linspace(0, 1, QUANTILES), (3, QUANTILES))
    neutral = {
        "kind": KINDS.index(kind),
        "reference": -1,
        "strength": 1,
        "lab_gain": np.ones(3),
        "lab_offset": np.zeros(3),
        "matrix": np.eye(3),
        "offset": np.zeros(3),
        "quantiles": ramp,
        "targets": ramp,
        "exposure": np.zeros(3),
        "contrast": 1,
        "pivot": 0.5,
        "color": np.eye(3),
        "gamma": 1,
        "light": np.zeros(2),
        "cells": 0,
        "edge": np.array([0.5, 0]),
    }
    made = {key: np.asarray(value, np.float32) for key, value in {**neutral, **others}.items()}
    return Parameters(**made)._replace(kind=np.int32(made["kind"]))
