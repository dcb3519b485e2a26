"""A small harmonization data set made from photos inside two Python packages: no download.

The seven colour photos ship in the scikit-image and scikit-learn wheels. Objects in them are
recoloured as those of any photos are (`harmony_jax.data.composites`); the untouched photo is the
target.
"""

import importlib.util
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from harmony_jax.data.codecs import read_photo
from harmony_jax.data.composites.compose import compose_with_numpy
from harmony_jax.data.composites.parameters import DRAWS, draw_one
from harmony_jax.data.composites.recipe import Recipe
from harmony_jax.data.composites.statistics import Statistics, object_statistics
from harmony_jax.data.demo_outlines import OUTLINES
from harmony_jax.data.sources import Sample, Source
from harmony_jax.errors import InputError

PHOTOS = {
    "astronaut": ("skimage", "data/astronaut.png"),
    "chelsea": ("skimage", "data/chelsea.png"),
    "coffee": ("skimage", "data/coffee.png"),
    "rocket": ("skimage", "data/rocket.jpg"),
    "motorcycle": ("skimage", "data/motorcycle_left.png"),
    "china": ("sklearn", "datasets/images/china.jpg"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
}

PER_PHOTO = {"train": 216, "test": 8}
REGION_SHORT_SIDE = 240  # Regions are found at one scale, so they are the same at every `size`.
WORKING_SCALE = 1.8  # Short side of a photo over `size`, and so the widest crop before scaling.
FOREGROUND_RATIO = (0.03, 0.45)
CROP_ATTEMPTS = 20
MAX_PATCH_IOU = 0.3  # of a random training patch with a test object
PATCH_RATIO = (0.03, 0.25)  # of the photo; crops of it show a patch larger


class DemoSource(Source):
    """Composites of recoloured objects in seven photos, with the photos as ground truth.

    Train and test share the seven photos, and differ in what is recoloured, and how: test has
    outlined objects; train has other outlined objects and random patches, which may cover a part
    of a test object but are never nearly the same region (IoU below MAX_PATCH_IOU). Scores on
    the test split therefore say that training works, not how a model does on unseen photos.
    Every composite is rendered at construction, and fixed by the arguments.
    """

    def __init__(self, split: str, size: int, recipe: Recipe, seed: int = 0):
        """Renders the `split` ("train" or "test") at `size` x `size` pixels, as the recipe says.

        Raises:
            InputError: for another split, or if a package that holds the photos is missing.
        """
        if split not in PER_PHOTO:
            raise InputError(f"split {split!r} is not in the demo set: use 'train' or 'test'")
        self._samples: list[Sample] = []
        self._photos: list[str] = []
        self._names: list[str] = []
        statistics = _object_statistics()
        for number, photo in enumerate(PHOTOS):
            rng = np.random.default_rng([seed, list(PER_PHOTO).index(split), number])
            others = [found for name, found in statistics if name != photo]
            pixels = _resize_short_side(_load(photo), round(WORKING_SCALE * size))
            regions = [
                (name, _resize_like(mask, pixels))
                for name, mask in photo_regions(photo)[split].items()
            ]
            for index in range(PER_PHOTO[split]):
                name, region = regions[index % len(regions)]
                patch = split == "train" and index % 3 > 0
                crop = None
                while crop is None:
                    if patch:
                        name, region = "patch", _resize_like(_random_patch(photo, rng), pixels)
                    crop = _random_crop(pixels, region, size, rng)
                real, mask = crop
                objects = _Objects([object_statistics(real, mask), *others])
                parameters = draw_one(recipe, rng.random(DRAWS), 0, objects)
                composite, given = compose_with_numpy(real, mask, parameters)
                self._samples.append({"composite": composite, "real": real, "mask": given})
                self._photos.append(photo)
                self._names.append(f"{photo}_{name}_{index:02d}")

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        """One sample; the mask is 255 in the foreground, with a soft edge."""
        return self._samples[index]

    def subset(self, index: int) -> str:
        return self._photos[index]

    def name(self, index: int) -> str:
        return self._names[index]

    def photo(self, index: int) -> str:
        return self._photos[index]


class _Objects:
    """An object, and those of other photos to take colours of."""

    def __init__(self, found: list[Statistics]):
        self._found = found

    def __len__(self) -> int:
        return len(self._found)

    def statistics(self, index: int) -> Statistics:
        return self._found[index]


@cache
def photo_regions(photo: str) -> dict[str, dict[str, np.ndarray]]:
    """The object masks of one photo, {split: {object: mask}}.

    A mask is uint8 [height, width], 255 on the object and 0 elsewhere, with the photo's shorter
    side scaled to REGION_SHORT_SIDE.
    """
    pixels = _resize_short_side(_load(photo), REGION_SHORT_SIDE)
    regions: dict[str, dict[str, np.ndarray]] = {split: {} for split in PER_PHOTO}
    for key, outline in OUTLINES.items():
        owner, split, name = key.split()
        if owner == photo:
            regions[split][name] = _snap_outline(pixels, outline)
    return regions


@cache
def _superpixels(photo: str) -> tuple[np.ndarray, list[set[int]]]:
    """The photo cut into superpixels (SLIC), at the scale of `photo_regions`.

    Returns the labels, int [height, width] from 0, and the neighbours of each label.
    """
    # Of the demo extra: _load has checked that it is there.
    from skimage.segmentation import slic

    pixels = _resize_short_side(_load(photo), REGION_SHORT_SIDE)
    labels = slic(pixels, n_segments=80, start_label=0)
    neighbours: list[set[int]] = [set() for _ in range(labels.max() + 1)]
    for one, other in ((labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])):
        for a, b in set(zip(one.ravel().tolist(), other.ravel().tolist(), strict=True)):
            if a != b:
                neighbours[a].add(b)
                neighbours[b].add(a)
    return labels, neighbours


def _random_patch(photo: str, rng: np.random.Generator) -> np.ndarray:
    """A connected union of superpixels, a mask as in `photo_regions`, unlike any test object.

    The outlined objects are too few to learn from: a network would remember each of them.
    """
    labels, neighbours = _superpixels(photo)
    areas = np.bincount(labels.ravel()) / labels.size
    while True:
        chosen = [int(rng.integers(len(areas)))]
        ratio = rng.uniform(*PATCH_RATIO)
        while areas[chosen].sum() < ratio:
            border = sorted(set.union(*(neighbours[label] for label in chosen)) - set(chosen))
            chosen.append(border[rng.integers(len(border))])
        patch = np.isin(labels, chosen)
        tests = [mask > 0 for mask in photo_regions(photo)["test"].values()]
        if all((patch & test).sum() < MAX_PATCH_IOU * (patch | test).sum() for test in tests):
            disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (15, 15))
            smooth: np.ndarray = np.where(patch, 255, 0).astype(np.uint8)
            for operation in (cv2.MORPH_CLOSE, cv2.MORPH_OPEN):  # no holes, no thin tongues
                smooth = cv2.morphologyEx(smooth, operation, disk)
            return smooth


def _resize_like(mask: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    return cv2.resize(mask, pixels.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def _load(photo: str) -> np.ndarray:
    """The photo as uint8 RGB [height, width, 3]."""
    package, path = PHOTOS[photo]
    spec = importlib.util.find_spec(package)
    file = Path(spec.origin).parent / path if spec and spec.origin else None
    if file is None or not file.is_file():
        raise InputError(f"the demo needs {path} of {package}: pip install 'harmony_jax[demo]'")
    return read_photo(file)


def _resize_short_side(pixels: np.ndarray, short_side: int) -> np.ndarray:
    """Scales uint8 [height, width, 3] so that the shorter side has `short_side` pixels."""
    scale = short_side / min(pixels.shape[:2])
    height, width = (round(scale * side) for side in pixels.shape[:2])
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)


def _snap_outline(pixels: np.ndarray, outline: str) -> np.ndarray:
    """Moves a rough outline to the object's edge with GrabCut (Rother et al., 2004).

    Takes the photo, uint8 RGB [height, width, 3]; returns uint8 [height, width] in {0, 255}.
    """
    height, width = pixels.shape[:2]
    percent = np.array([point.split(",") for point in outline.split()], float)
    inside = np.zeros((height, width), np.uint8)
    cv2.fillPoly(inside, [np.rint(percent / 100 * [width, height]).astype(np.int32)], 1)
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    # Only the band that one disk radius either side of the outline covers is open to change.
    labels = np.full_like(inside, cv2.GC_BGD)
    labels[cv2.dilate(inside, disk) > 0] = cv2.GC_PR_BGD
    labels[inside > 0] = cv2.GC_PR_FGD
    labels[cv2.erode(inside, disk) > 0] = cv2.GC_FGD
    # Colour models of the neighbourhood separate better than those of the whole photo.
    x, y, w, h = cv2.boundingRect(inside)
    near = np.s_[max(y - 12, 0) : y + h + 12, max(x - 12, 0) : x + w + 12]
    cv2.setRNGSeed(0)  # GrabCut starts with a random k-means.
    models = np.zeros((1, 65)), np.zeros((1, 65))  # working memory, of no use afterwards
    labels[near], *_ = cv2.grabCut(
        pixels[near], labels[near].copy(), (x, y, w, h), *models, 1, cv2.GC_INIT_WITH_MASK
    )
    foreground = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))
    return cv2.medianBlur(np.where(foreground, 255, 0).astype(np.uint8), 7)


def _object_statistics() -> list[tuple[str, Statistics]]:
    """(photo, colours) of every outlined object of every photo."""
    found = []
    for photo in PHOTOS:
        pixels = _resize_short_side(_load(photo), REGION_SHORT_SIDE)
        for regions in photo_regions(photo).values():
            found += [(photo, object_statistics(pixels, mask)) for mask in regions.values()]
    return found


def _random_crop(
    pixels: np.ndarray, region: np.ndarray, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray] | None:
    """Draws a square crop that shows most of the object at a fair foreground ratio.

    Takes uint8 RGB [height, width, 3] and the mask [height, width] on it; returns both cropped
    and scaled to `size`, the mask with a soft edge of about 2 pixels; None if no draw fits.
    """
    height, width = region.shape
    visible = 0.6 * region.sum(dtype=float)
    for _ in range(CROP_ATTEMPTS):
        side = int(rng.integers(size, min(height, width), endpoint=True))
        y, x = rng.integers([height - side, width - side], endpoint=True)
        crop = np.s_[y : y + side, x : x + side]
        if region[crop].sum(dtype=float) < visible:
            continue
        mask = cv2.resize(region[crop], (size, size), interpolation=cv2.INTER_AREA)
        mask = cv2.GaussianBlur(mask, (3, 3), 0)
        if FOREGROUND_RATIO[0] <= mask.mean() / 255 <= FOREGROUND_RATIO[1]:
            return cv2.resize(pixels[crop], (size, size), interpolation=cv2.INTER_AREA), mask
    return None
