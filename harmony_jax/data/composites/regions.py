"""Finds plausible objects in photos without masks: segments joined with their neighbours."""

import cv2
import numpy as np
from jaxtyping import UInt8

from harmony_jax.errors import InputError

_SIDE = 144  # longest side of the picture that is cut into segments
_GOAL = (0.05, 0.4)  # segments are joined until they cover a share of the photo in this range
_RATIO = (0.04, 0.5)  # share of the photo that a chosen region may cover
_CANDIDATES = 16  # regions drawn to choose from
_MAX_IOU = 0.4  # between two chosen regions
_RING = 9  # pixels, kernel that finds a region's surroundings
_MAX_JOINS = 12
_SMOOTH = 0.75  # pixels of the small picture

Region = np.ndarray  # uint8 [height, width], 0 or 255


def find_regions(photo: UInt8[np.ndarray, "height width 3"], count: int) -> list[Region]:
    """Finds regions of a photo, always the same ones for the same photo.

    The photo is cut into segments (Felzenszwalb and Huttenlocher, IJCV 2004), which are joined with
    neighbours until they are as large as objects. The chosen regions stand out most: their colour
    differs from their surroundings, and little of them touches the photo's border. A part of an
    even surface would give away its colours. Masks are of the small picture's size (`to_size`
    enlarges them), and fewer than `count` where the photo has too few segments.
    """
    try:
        from skimage.segmentation import felzenszwalb
    except ImportError as error:
        raise InputError(
            "regions of photos without masks are found by scikit-image: "
            "pip install 'harmony_jax[photos]', or set data.regions_per_photo to 0"
        ) from error
    scale = min(1.0, _SIDE / max(photo.shape[:2]))
    height, width = (max(1, round(scale * side)) for side in photo.shape[:2])
    small = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)
    segments = felzenszwalb(small, scale=180, sigma=0.9, min_size=120)
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    rng = np.random.default_rng(0)
    drawn = [_joined(segments, rng) for _ in range(_CANDIDATES)]
    plausible = [region for region in drawn if _RATIO[0] < region.mean() < _RATIO[1]]
    found: list[np.ndarray] = []
    for region in sorted(plausible, key=lambda region: -_prominence(region, lab)):
        if len(found) < count and all(_iou(region, other) < _MAX_IOU for other in found):
            found.append(region)
    return [np.where(region, 255, 0).astype(np.uint8) for region in found]


def _prominence(region: np.ndarray, lab: np.ndarray) -> float:
    """Distance in Lab between a region and its surroundings, less where it fills the border."""
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_RING, _RING))
    ring = (cv2.dilate(region.astype(np.uint8), disk) > 0) & ~region
    if not ring.any():
        return 0.0
    distance = np.linalg.norm(lab[region].mean(0) - lab[ring].mean(0))
    border = np.concatenate([region[0], region[-1], region[:, 0], region[:, -1]])
    return float(distance) * (1 - border.mean())


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


def to_size(region: Region, height: int, width: int) -> Region:
    """A region at the photo's size, with a smooth outline and a sharp edge."""
    scale = max(height, width) / max(region.shape)
    large = cv2.resize(region, (width, height), interpolation=cv2.INTER_LINEAR)
    smooth = cv2.GaussianBlur(large, (0, 0), max(0.5, _SMOOTH * scale))
    return np.where(smooth > 127, 255, 0).astype(np.uint8)


def _joined(segments: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    region = segments == rng.integers(segments.max() + 1)
    goal = rng.uniform(*_GOAL)
    for _ in range(_MAX_JOINS):
        if region.mean() >= goal:
            break
        around = cv2.dilate(region.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        neighbours = np.unique(segments[around & ~region])
        if not len(neighbours):
            break
        region |= segments == rng.choice(neighbours)
    return region
