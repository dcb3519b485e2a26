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

# Ranges of the crop's share of the image's area and of its width over height, and how often a crop
# is drawn that does not fit into the image before the central one is taken.
CROP_AREA = (0.5, 1.0)
CROP_ASPECT = (3 / 4, 4 / 3)
CROP_ATTEMPTS = 10
# A crop whose mask sums to at most this many pixels has lost the foreground. It is drawn again,
# except with the given probability (released training).
MIN_FOREGROUND = 1.0
KEEP_BACKGROUND = 0.05


class RandomCropAndFlip(grain.transforms.RandomMap):
    """The released augmentation, the same for all pictures of a sample.

    A random crop of 50 to 100 % of the area and aspect 3/4 to 4/3, resized to a square and
    flipped left to right half of the time. A crop that lost the foreground is drawn again.
    """

    def __init__(self, augmentation: Augmentation):
        self._size, self._crop, self._flip = augmentation

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

    It may take the colours of other `objects`, which have the numbers of the samples.
    """

    def __init__(self, recipe: Recipe, objects: Objects):
        self._recipe, self._objects = recipe, objects

    def random_map(self, element: Any, rng: np.random.Generator) -> Any:
        parameters = draw_one(self._recipe, rng.random(DRAWS), element["index"], self._objects)
        composite, mask = compose_with_numpy(element["real"], element["mask"], parameters)
        return {**element, "composite": composite, "mask": mask}


def random_crop(height: int, width: int, *, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Draws the top, left, height and width of "random resized crop" in an image.

    The share of the area is uniform in CROP_AREA, the logarithm of the aspect in that of
    CROP_ASPECT. If no draw fits, it is the central crop of the nearest aspect in the range.
    """
    low, high = CROP_ASPECT
    for _ in range(CROP_ATTEMPTS):
        pixels = rng.uniform(*CROP_AREA) * height * width
        ratio = math.exp(rng.uniform(math.log(low), math.log(high)))
        crop_width, crop_height = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = int(rng.integers(0, height - crop_height + 1))
            left = int(rng.integers(0, width - crop_width + 1))
            return top, left, crop_height, crop_width
    ratio = min(max(width / height, low), high)
    crop_width = min(width, round(height * ratio))
    crop_height = min(height, round(width / ratio))
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width
