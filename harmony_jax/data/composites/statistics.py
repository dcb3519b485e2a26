"""The colours of an object, for transfers: means, deviations and quantiles."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8

QUANTILES = 33

_MAX_PIXELS = 6000  # evenly spaced; with more, no mean changes by a grey level
_LEAST_DEVIATION = 1e-3  # Lab units; a uniform object's deviation is divided by, too
_LEAST_VARIANCE = 4e-5  # of RGB in [0, 1], as of noise of one and a half grey levels


class Statistics(NamedTuple):
    """Colours inside an object's mask, float32; several objects have one more axis in front."""

    lab_mean: np.ndarray  # [3], L in [0, 100]
    lab_deviation: np.ndarray  # [3]
    mean: np.ndarray  # [3], RGB in [0, 1]
    covariance: np.ndarray  # [3, 3]
    quantiles: np.ndarray  # [3, QUANTILES], from the darkest to the brightest


def object_statistics(
    photo: UInt8[np.ndarray, "height width 3"], mask: UInt8[np.ndarray, "height width"]
) -> Statistics:
    """The statistics of the RGB pixels inside a mask, which must have foreground."""
    inside = mask > min(127, int(mask.max()) - 1)
    pixels = photo[inside]
    if len(pixels) > _MAX_PIXELS:
        pixels = pixels[np.linspace(0, len(pixels) - 1, _MAX_PIXELS).astype(int)]
    rgb = pixels.astype(np.float32) / 255
    lab = cv2.cvtColor(rgb[None], cv2.COLOR_RGB2LAB)[0]
    # Biased, because a single pixel has no unbiased covariance.
    covariance = np.cov(rgb.T, bias=True) + _LEAST_VARIANCE * np.eye(3)
    quantiles = np.quantile(rgb, np.linspace(0, 1, QUANTILES), axis=0).T
    found = (lab.mean(0), lab.std(0) + _LEAST_DEVIATION, rgb.mean(0), covariance, quantiles)
    return Statistics(*(np.asarray(value, np.float32) for value in found))


def stacked(statistics: list[Statistics]) -> Statistics:
    """Statistics of several objects, along a new first axis."""
    return Statistics(*(np.stack(values) for values in zip(*statistics, strict=True)))
