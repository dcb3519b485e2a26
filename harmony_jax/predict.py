"""Prediction: a photo and its mask, or folders of them, to harmonized pictures."""

import logging
import os
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from harmony_jax.data.photos import read_mask, read_photo, write_photo
from harmony_jax.data.transforms import resize
from harmony_jax.errors import InputError
from harmony_jax.normalization import denormalize, normalize
from harmony_jax.saved_model import load_model
from harmony_jax.variables import Variables, split

_LOGGER = logging.getLogger(__name__)

# The released prediction takes mask values above this as foreground.
_MASK_THRESHOLD = 100
_PHOTO_ENDINGS = (".jpg", ".jpeg", ".png")


class Harmonizer:
    """Makes composites look right; see `from_checkpoint`."""

    def __init__(self, model: nnx.Module, image_size: int):
        graph, variables = split(model)
        self._variables = variables
        self._image_size = image_size

        def predict(variables: Variables, image: jax.Array, mask: jax.Array) -> jax.Array:
            foreground = (mask > _MASK_THRESHOLD).astype(jnp.float32)
            output = nnx.merge(graph, *variables)(
                normalize(image)[None], foreground[None, ..., None]
            )
            return jnp.clip(denormalize(output.image[0]), 0, 255)

        self._predict = jax.jit(predict)

    @classmethod
    def from_checkpoint(cls, path: str | os.PathLike[str], **overrides: Any) -> "Harmonizer":
        """Loads a trained model.

        Args:
            path: a workdir, its `checkpoints` folder, or one step's folder; of several the best.
            **overrides: arguments of the model to set otherwise, such as `dtype`.

        Raises:
            InputError: there is no checkpoint, or it is damaged.
        """
        model, loaded = load_model(Path(path), **overrides)
        return cls(model, loaded.metadata["image_size"])

    def harmonize(self, image: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Makes the foreground's colours fit.

        The network sees the photo at the size it was trained at. Its change of colour, not its
        pixels, is enlarged and added to the photo, which so stays sharp.

        Args:
            image: uint8 [height, width, 3] RGB, any size.
            mask: uint8 [height, width], 255 on the foreground; in between, the change is mixed in.

        Returns:
            uint8 [height, width, 3]; equal to `image` where the mask is 0.

        Raises:
            InputError: shapes or types do not fit, or the mask has no foreground.
        """
        _check_pair(image, mask)
        height, width = mask.shape
        small, small_mask = resize(image, self._image_size), resize(mask, self._image_size)
        prediction = np.asarray(self._predict(self._variables, small, small_mask))
        change = cv2.resize(prediction - small, (width, height), interpolation=cv2.INTER_LINEAR)
        harmonized = image + change * (mask[..., None] / np.float32(255))
        return np.rint(np.clip(harmonized, 0, 255)).astype(np.uint8)


def predict(
    checkpoint: Path, image: Path, mask: Path, output: Path, *, overwrite: bool = False
) -> list[Path]:
    """Harmonizes one photo, or every photo of a folder.

    Args:
        checkpoint: as `Harmonizer.from_checkpoint` takes.
        image: a photo, or a folder of them.
        mask: its mask; or a folder with, for `a_b_c.jpg`, a mask `a_b_c.png` or `a_b.png`.
        output: file for one photo (or a folder, which keeps the photo's name); folder for many.
        overwrite: whether to replace outputs that are there already.

    Returns:
        The files written.

    Raises:
        InputError: an input is missing or unreadable, or an output is there already. All inputs
            are looked up before anything is computed.
    """
    jobs = _jobs(image, mask, output)
    existing = [target for _, _, target in jobs if target.exists()]
    if existing and not overwrite:
        raise InputError(
            f"{existing[0]}: is there already ({len(existing)} of {len(jobs)} outputs are): "
            "choose another --output or pass --overwrite"
        )
    harmonizer = Harmonizer.from_checkpoint(checkpoint)
    for photo, photo_mask, target in jobs:
        pixels, foreground = read_photo(photo), read_mask(photo_mask)
        try:
            harmonized = harmonizer.harmonize(pixels, foreground)
        except InputError as error:
            raise InputError(f"{photo} with {photo_mask}: {error}") from error
        write_photo(target, harmonized)
        _LOGGER.info("%s -> %s", photo, target)
    return [target for _, _, target in jobs]


def _jobs(image: Path, mask: Path, output: Path) -> list[tuple[Path, Path, Path]]:
    """Photo, mask and output of each picture to make."""
    for path in (image, mask):
        if not path.exists():
            raise InputError(f"{path}: no such file or folder: check the path")
    if image.is_dir() != mask.is_dir():
        raise InputError(f"{image} and {mask}: pass two files or two folders")
    if not image.is_dir():
        target = output if output.suffix and not output.is_dir() else output / image.name
        return [(image, mask, target)]
    photos = sorted(p for p in image.iterdir() if p.suffix.lower() in _PHOTO_ENDINGS)
    if not photos:
        raise InputError(f"{image}: no photo ({', '.join(_PHOTO_ENDINGS)}) in this folder")
    return [(photo, _mask_of(photo, mask), output / photo.name) for photo in photos]


def _mask_of(photo: Path, masks: Path) -> Path:
    """The photo's own mask, or in iHarmony4 the one that the composites of a region share."""
    candidates = [masks / f"{photo.stem}.png", masks / f"{photo.stem.rpartition('_')[0]}.png"]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise InputError(f"{photo}: no mask: expected {candidates[0]}")


def _check_pair(image: np.ndarray, mask: np.ndarray) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(
            f"image {image.dtype} {image.shape}: expected uint8 [height, width, 3] RGB"
        )
    if mask.dtype != np.uint8 or mask.shape != image.shape[:2]:
        raise InputError(
            f"mask {mask.dtype} {mask.shape}: expected uint8 {image.shape[:2]}, the image's "
            "height and width"
        )
    if not (mask > _MASK_THRESHOLD).any():
        raise InputError(
            f"the mask has no foreground: its largest value is {mask.max()}, foreground is above "
            f"{_MASK_THRESHOLD}"
        )
