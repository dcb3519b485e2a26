"""From a decoded sample to the network's size: one crop, one resampling, uint8 throughout."""

import math
from typing import Any

import cv2
import grain
import numpy as np

from harmony_jax.data.batching import Augmentation
from harmony_jax.data.composites.compose import compose_with_numpy
from harmony_jax.data.composites.parameters import DRAWS, Objects, draw_one
from harmony_jax.data.composites.recipe import Recipe
from harmony_jax.data.resizing import resize
from harmony_jax.data.sources import Sample

# Ranges of the crop's share of the image's area, and of its width over height; how many draws that
# do not fit into the image end in the central crop.
CROP_AREA = (0.5, 1.0)
CROP_ASPECT = (3 / 4, 4 / 3)
CROP_ATTEMPTS = 10
# Crops whose mask sums to this many pixels or less count as having lost the foreground; such a
# crop is kept all the same with the given probability (released training).
MIN_FOREGROUND = 1.0
KEEP_BACKGROUND = 0.05


class Resize(grain.transforms.Map):
    """Resizes composite, real photo and mask to `size` x `size`, as evaluation does."""

    def __init__(self, size: int):
        self._size = size

    def map(self, element: Sample) -> Sample:
        return Sample(
            composite=resize(element["composite"], self._size),
            real=resize(element["real"], self._size),
            mask=resize(element["mask"], self._size),
        )


class RandomCropAndFlip(grain.transforms.RandomMap):
    """The released augmentation, the same for composite, if there is one, real photo and mask.

    A random crop of 50 to 100 % of the area and aspect 3/4 to 4/3, resized to a square and
    flipped left to right half of the time. A crop that lost the foreground is drawn again.

    `Augmentation` says the size, and whether crops and flips are left out.
    """

    def __init__(self, augmentation: Augmentation):
        self._size, self._crop, self._flip, _ = augmentation

    def random_map(self, element: Any, rng: np.random.Generator) -> Any:
        window, mask = self._draw_crop(element["mask"], rng)
        photos = [key for key in ("composite", "real") if key in element]
        pictures = {key: resize(element[key][window], self._size) for key in photos}
        pictures["mask"] = mask
        if self._flip and rng.random() < 0.5:
            pictures = {key: cv2.flip(pixels, 1) for key, pixels in pictures.items()}
        return {**element, **pictures}

    def _draw_crop(
        self, mask: np.ndarray, rng: np.random.Generator
    ) -> tuple[tuple[slice, slice], np.ndarray]:
        """The crop's rows and columns, and the mask cropped and resized."""
        if not self._crop:
            return (slice(None), slice(None)), resize(mask, self._size)
        while True:
            top, left, height, width = random_crop(*mask.shape[:2], rng=rng)
            window = (slice(top, top + height), slice(left, left + width))
            cropped = resize(mask[window], self._size)
            if rng.random() < KEEP_BACKGROUND or cropped.sum() / 255 > MIN_FOREGROUND:
                return window, cropped


class MakeComposite(grain.transforms.RandomMap):
    """Makes the composite of a photo and its mask, another one each time.

    Args:
        recipe: how.
        objects: the samples, by their `index`, to take colours of.
    """

    def __init__(self, recipe: Recipe, objects: Objects):
        self._recipe, self._objects = recipe, objects

    def random_map(self, element: Any, rng: np.random.Generator) -> Any:
        parameters = draw_one(self._recipe, rng.random(DRAWS), element["index"], self._objects)
        composite, mask = compose_with_numpy(element["real"], element["mask"], parameters)
        return {**element, "composite": composite, "mask": mask}


def random_crop(
    height: int,
    width: int,
    *,
    rng: np.random.Generator,
    area: tuple[float, float] = CROP_AREA,
    aspect: tuple[float, float] = CROP_ASPECT,
) -> tuple[int, int, int, int]:
    """Draws the crop of "random resized crop".

    Args:
        height, width: the image's, in pixels.
        rng: source of randomness.
        area: range of the crop's share of the image, drawn uniformly.
        aspect: range of its width over height, drawn uniformly in the logarithm.

    Returns:
        Top, left, height and width in pixels. If no draw fits, the central crop of the nearest
        admissible aspect.
    """
    for _ in range(CROP_ATTEMPTS):
        pixels = rng.uniform(*area) * height * width
        ratio = math.exp(rng.uniform(math.log(aspect[0]), math.log(aspect[1])))
        crop_width, crop_height = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = int(rng.integers(0, height - crop_height + 1))
            left = int(rng.integers(0, width - crop_width + 1))
            return top, left, crop_height, crop_width
    ratio = min(max(width / height, aspect[0]), aspect[1])
    crop_width = min(width, round(height * ratio))
    crop_height = min(height, round(width / ratio))
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width
