"""`benchmark.py results`: what a model does to composites, to right objects and to pasted ones."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from harmony_jax.data.iharmony4 import SUBSETS, IHarmony4Source
from harmony_jax.photos.harmonizer import Harmonizer

_PASTES = 96
_BLACK = 8  # L of the darkest 2 % of an object that has true blacks
_TILE = 230  # pixels; half the width of a paste in the sheet, and its height


class _Object(NamedTuple):
    photo: np.ndarray
    mask: np.ndarray


def measure(arguments: argparse.Namespace) -> None:
    """Prints the three lines, and draws pastes before and after if asked."""
    harmonizer = Harmonizer.from_checkpoint(arguments.checkpoint)

    def harmonize(photo: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return np.asarray(harmonizer.harmonize(photo, mask, strength=arguments.strength))

    subsets = [name for name in SUBSETS if (Path(arguments.root) / name).is_dir()]
    errors, objects = [], {}
    for split in ("train", "test"):
        source = IHarmony4Source(arguments.root, split, subsets)
        for index in range(len(source)):
            sample = source[index]
            composite, real, mask = (sample[key] for key in ("composite", "real", "mask"))
            objects[source.photo(index), mask.tobytes()] = _Object(real, mask)
            if split == "test":
                results = (composite, harmonize(composite, mask))
                errors.append([np.square(found - np.float32(real)).mean() for found in results])
    before, after = np.mean(errors, 0)
    print(
        f"composites ({len(errors)}): MSE {before:.1f} to {after:.1f}, {after / before - 1:+.1%}; "
        f"worse: {np.mean([after > before for before, after in errors]):.0%}"
    )
    right = [found for found in objects.values() if 0.02 < (found.mask > 127).mean() < 0.6]
    changes = [_Change.of(photo, harmonize(photo, mask), mask) for photo, mask in right]
    differences = np.array([change.difference for change in changes])
    print(
        f"right objects ({len(right)}): CIEDE2000 {differences.mean():.2f}, "
        f"over 10: {np.mean(differences > 10):.0%}"
    )
    changes, tiles = [], []
    for photo, mask in _pastes(right):
        result = harmonize(photo, mask)
        changes.append(_Change.of(photo, result, mask))
        tiles.append(np.concatenate([cv2.resize(x, (_TILE, _TILE)) for x in (photo, result)], 1))
    contrasts = np.array([change.contrast for change in changes])
    lift = np.mean([change.lift for change in changes])
    print(
        f"pasted objects ({len(tiles)}): the darkest 2 % of L {lift:+.1f}, "
        f"contrast below 0.7 of before: {np.mean(contrasts < 0.7):.0%}"
    )
    if arguments.sheet:
        rows = [np.concatenate(tiles[i : i + 4], 1) for i in range(0, len(tiles), 4)]
        Image.fromarray(np.concatenate(rows)).save(arguments.sheet)


class _Change(NamedTuple):
    """Of an object: mean CIEDE2000, factor on the deviation of L, and rise of its darkest 2 %."""

    difference: float
    contrast: float
    lift: float

    @classmethod
    def of(cls, before: np.ndarray, after: np.ndarray, mask: np.ndarray) -> "_Change":
        old, new = (rgb2lab(picture[mask > 127]) for picture in (before, after))
        return cls(
            float(deltaE_ciede2000(old, new).mean()),
            float(new[:, 0].std() / max(old[:, 0].std(), 1)),
            float(np.percentile(new[:, 0], 2) - np.percentile(old[:, 0], 2)),
        )


def _pastes(objects: list[_Object]) -> Iterator[_Object]:
    """Objects with true blacks on the darkest and the lightest of the photos in turn."""
    black = [
        found
        for found in objects
        if np.percentile(rgb2lab(found.photo[found.mask > 127])[:, 0], 2) < _BLACK
    ]
    by_light = sorted((found.photo for found in objects), key=np.mean)
    for number in range(_PASTES if black else 0):
        photo, mask = black[number % len(black)]
        half = number // 2 % len(by_light)
        background = by_light[-1 - half if number % 2 else half]
        left, top, width, height = cv2.boundingRect((mask > 127).astype(np.uint8))
        part = (slice(top, top + height), slice(left, left + width))
        factor = 0.7 * min(background.shape[0] / height, background.shape[1] / width)
        photo, mask = (
            cv2.resize(np.ascontiguousarray(x[part]), None, fx=factor, fy=factor)
            for x in (photo, mask)
        )
        height, width = mask.shape
        top, left = background.shape[0] - height, (background.shape[1] - width) // 2
        place = (slice(top, top + height), slice(left, left + width))
        result, whole = background.copy(), np.zeros(background.shape[:2], np.uint8)
        whole[place] = mask
        share = mask[..., None] / 255
        result[place] = np.rint(photo * share + background[place] * (1 - share))
        yield _Object(result, whole)
