"""Small data sets, written by the tests that need them, and a config for them."""

from collections.abc import Collection
from pathlib import Path

import cv2
import numpy as np

from configs import base
from harmony_jax.data.batching import PIXELS
from harmony_jax.data.sources import Source
from harmony_jax.errors import InputError

SUBSETS = ("HCOCO", "HFlickr")


def write_iharmony4(root: Path, train: int, test: int, size: tuple[int, int] = (48, 40)) -> None:
    """Writes two subsets; two composites share each photo. Numbers are for both together."""
    rng = np.random.default_rng(0)
    for subset in SUBSETS:
        for split, count in (("train", train // 2), ("test", test // 2)):
            names = []
            for index in range(count):
                names.append(f"{split}{index // 2:03d}_1_{index % 2}.jpg")
                if index % 2 == 0:
                    real, mask = _photo(rng, size), _mask(rng, size)
                _write_composite(root / subset, names[-1], real, mask, rng)
            (root / subset / f"{subset}_{split}.txt").write_text("\n".join(names) + "\n")


def write_varied_test_lists(root: Path) -> None:
    """Writes 20 test composites: all subsets, several sizes and brightnesses, soft masks.

    Foregrounds take 2 to 60 % of the picture, so that no range of the ratio is empty.
    """
    rng = np.random.default_rng(1)
    photos = {
        "HCOCO": ((300, 400), 255),
        "HAdobe5k": ((520, 350), 180),
        "HFlickr": ((256, 256), 120),
        "Hday2night": ((90, 70), 60),
    }
    for subset, ((height, width), brightest) in photos.items():
        names = []
        for index, share in enumerate((0.02, 0.04, 0.1, 0.3, 0.6)):
            names.append(f"p{index}_1_1.jpg")
            real = (_photo(rng, (height, width)) * (brightest / 255)).astype(np.uint8)
            y, x = np.mgrid[:height, :width]
            radius = np.sqrt(share / np.pi)
            distance = np.hypot(y / height - 0.5, x / width - 0.5) / radius
            mask = np.rint(255 * np.clip(10 * (1 - distance) + 0.5, 0, 1)).astype(np.uint8)
            _write_composite(root / subset, names[-1], real, mask, rng)
        (root / subset / f"{subset}_test.txt").write_text("\n".join(names) + "\n")


def _write_composite(
    folder: Path, name: str, real: np.ndarray, mask: np.ndarray, rng: np.random.Generator
) -> None:
    """Writes `a_b_c.jpg` with its real photo and mask into a subset's folder."""
    shift = rng.integers(-60, 60, 3) * (mask[..., None] / 255)
    photo, region, _ = name.split("_")
    for path, pixels in (
        (f"composite_images/{name}", np.clip(real + shift, 0, 255).astype(np.uint8)),
        (f"real_images/{photo}.jpg", real),
        (f"masks/{photo}_{region}.png", mask),
    ):
        _write(folder / path, pixels)


def _write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)


def write_pairs(root: Path, count: int, size: tuple[int, int] = (48, 40)) -> None:
    """Writes pairs as a person may have them: three folders, files of one stem."""
    rng = np.random.default_rng(0)
    for index in range(count):
        _write(root / f"composites/photo{index}.jpg", _photo(rng, size))
        _write(root / f"masks/photo{index}.png", _mask(rng, size))
        _write(root / f"reals/photo{index}.png", _photo(rng, size))


def write_photos(root: Path, count: int, size: tuple[int, int] = (48, 40)) -> None:
    """Writes photos with a mask each as a person may have them: images/ and masks/."""
    rng = np.random.default_rng(0)
    for index in range(count):
        _write(root / f"images/photo{index}.png", _photo(rng, size))
        _write(root / f"masks/photo{index}_1.png", _mask(rng, size))


class Numbers(Source):
    """60 samples, three of each photo, with the value i everywhere in sample i; some damaged."""

    def __init__(self, damaged: Collection[int] = ()):
        self.damaged = damaged

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> dict:
        if index in self.damaged:
            raise InputError(f"sample {index}: damaged")
        pixels = np.full((2, 2, 3), index, np.uint8)
        return {"composite": pixels, "real": pixels, "mask": pixels[..., 0]}

    def subset(self, index: int) -> str:
        return "A" if index < 30 else "B"

    def name(self, index: int) -> str:
        return str(index)

    def photo(self, index: int) -> str:
        return str(index // 3)


def take(batches, count: int) -> list[dict[str, np.ndarray]]:
    """The next batches, on the host; the others are never made."""
    taken = []
    for _ in range(count):
        taken.append({key: np.array(value) for key, value in next(batches).items()})
    batches.close()
    return taken


def assert_same_batches(found, expected) -> None:
    for one, other in zip(found, expected, strict=True):
        for key in (*PIXELS, "index"):
            np.testing.assert_array_equal(one[key], other[key])


def _photo(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    low = rng.integers(0, 256, (4, 4, 3)).astype(np.uint8)
    return cv2.resize(low, size[::-1], interpolation=cv2.INTER_CUBIC)


def _mask(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    centre = [int(side * rng.uniform(0.4, 0.6)) for side in size[::-1]]
    cv2.ellipse(mask, centre, (size[1] // 4, size[0] // 5), 0, 0, 360, 255, -1)
    return mask


def tiny_config(root: Path | None = None):
    """iDIH with 4 levels and 8 channels at 32 pixels: compiles in seconds."""
    config = base.get_config()
    config.model.name = "improved_dih256"
    config.model.depth = 4
    config.model.channels = 8
    config.model.max_channels = 16
    config.data.root = str(root)
    config.data.subsets = SUBSETS
    config.data.image_size = 32
    config.data.num_workers = 0
    config.data.validation_fraction = 0.2
    config.train.batch_size = 4
    config.train.epochs = 4
    config.train.log_every_steps = 2
    config.optimizer.milestones = (3,)
    config.evaluation.every_epochs = 2
    config.evaluation.batch_size = 4
    config.evaluation.num_pictures = 2
    config.checkpoint.every_epochs = 1
    return config
