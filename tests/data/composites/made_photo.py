"""Photos with an object, and parameters that change only one thing."""

import cv2
import numpy as np

from configs import base
from harmony_jax import InputError
from harmony_jax.data.composites.parameters import Parameters
from harmony_jax.data.composites.recipe import KINDS, Recipe
from harmony_jax.data.composites.statistics import QUANTILES, Statistics, object_statistics

RECIPE = vars(Recipe.of(base.get_config().data.composites))


class Objects:
    """Photos in memory; notes whose colours are asked for, some of which are unreadable."""

    def __init__(self, photos, unreadable=()):
        self._found = [object_statistics(*photo) for photo in photos]
        self._unreadable, self.asked = unreadable, []

    def __len__(self) -> int:
        return len(self._found)

    def statistics(self, index: int) -> Statistics:
        self.asked.append(index)
        if index in self._unreadable:
            raise InputError(f"{index}: damaged")
        return self._found[index]


def made_photo(seed: int = 0, side: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """A photo of smooth colours, none of them near black or white, and the mask of a disk."""
    rng = np.random.default_rng(seed)
    low, high = np.sort(rng.integers(60, 200, (2, 3)), axis=0)
    coarse = rng.integers(low, high + 20, (6, 6, 3)).astype(np.uint8)
    photo = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    mask = np.zeros((side, side), np.uint8)
    cv2.circle(mask, (side // 2 + 4, side // 2 - 3), side // 4, 255, -1)
    return photo, mask


def photo_with_segments() -> np.ndarray:
    """Twelve patches of different colours."""
    rng = np.random.default_rng(0)
    return np.kron(rng.integers(0, 256, (3, 4, 3)), np.ones((40, 40, 1))).astype(np.uint8)


def parameters(kind: str = "unchanged", **others: object) -> Parameters:
    """The parameters of a composite, neutral except for those given."""
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
