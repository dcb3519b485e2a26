"""Harmonization of photos of any size: the network at its size, its change of colour at theirs."""

import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from PIL import Image

from harmony_jax.color_transform import apply_color_transform, fit_color_transform
from harmony_jax.data.transforms import resize
from harmony_jax.errors import InputError
from harmony_jax.masks import FOREGROUND, Mask, check_mask, fit_size, mask_of
from harmony_jax.models import HarmonizationModel
from harmony_jax.normalization import denormalize, normalize
from harmony_jax.pictures import Picture, picture_of
from harmony_jax.released_models import checkpoint_path
from harmony_jax.saved_model import load_model
from harmony_jax.variables import Variables, split

# Larger photos are shrunk to this many pixels a side first, as the data set's were: the network
# has not seen the aliasing of a 12-megapixel photo at 256 pixels.
_LARGEST_SIDE = 1024
_MAX_BATCH = 8
_TILE = 512  # pixels a side; every photo is tiles of this one shape, so one program does all
_TILES_AT_ONCE = 16  # handed to the device before the first one is awaited

Photo = np.ndarray | jax.Array | Image.Image
Resolution = int | Literal["full"]


class Harmonized(NamedTuple):
    """A harmonized photo.

    Attributes:
        image: [height, width, 3] RGB, of the photo's type.
        blend_mask: the paper's M_A [image_size, image_size] in [0, 1], 1 where the network painted;
            None for models without a blending layer.
    """

    image: np.ndarray
    blend_mask: np.ndarray | None


class Harmonizer:
    """Makes composites look right; see `from_checkpoint`. Threads may share one."""

    def __init__(self, model: HarmonizationModel, image_size: int):
        self._model, self._image_size = model, image_size
        graph, self._variables = split(model)

        def network(
            variables: Variables, image: jax.Array, mask: jax.Array
        ) -> tuple[jax.Array, jax.Array | None]:
            foreground = (mask > FOREGROUND).astype(jnp.float32)[..., None]
            output = nnx.merge(graph, *variables)(normalize(image), foreground)
            blend_mask = output.blend_mask
            return (
                jnp.clip(denormalize(output.image), 0, 255),
                None if blend_mask is None else blend_mask[..., 0].astype(jnp.float32),
            )

        def transform(
            variables: Variables, image: jax.Array, mask: jax.Array
        ) -> tuple[jax.Array, jax.Array | None]:
            prediction, blend_mask = network(variables, image, mask)
            weight = jnp.square(mask.astype(jnp.float32) / 255)
            return jax.vmap(fit_color_transform)(image, prediction, weight), blend_mask

        self._network = _CompiledOnce(network)
        self._transform = _CompiledOnce(transform)
        self._apply = _CompiledOnce(apply_color_transform)

    @classmethod
    def from_checkpoint(cls, path: str | os.PathLike[str], **overrides: Any) -> "Harmonizer":
        """Loads a model.

        Args:
            path: a workdir, its `checkpoints` folder, or one step's folder (of several the best);
                or the name of a released model, whose weights are fetched and converted on first
                use (`harmony_jax.released_models`).
            **overrides: arguments of the model to set otherwise, such as `dtype`.

        Raises:
            InputError: there is no checkpoint, it is damaged, or a released one cannot be had.
        """
        model, loaded = load_model(checkpoint_path(path), **overrides)
        return cls(model, loaded.metadata["image_size"])

    def harmonize(
        self,
        image: Photo | Sequence[Photo],
        mask: Photo | Sequence[Photo] | None = None,
        *,
        resolution: Resolution = "full",
        strength: float = 1.0,
    ) -> np.ndarray | list[np.ndarray]:
        """Makes the foreground's colours fit.

        Args:
            image: a photo: RGB [height, width, 3], uint8 or uint16, a NumPy or JAX array, or a
                PIL image of any kind. Or several: a list of photos of any sizes, or an array
                [batch, height, width, 3].
            mask: of each photo, in the same form: [height, width], 255 (True, or 1.0 in floating
                point) on the foreground; in between, the change is mixed in. One of another size is
                resized with a warning. None takes the photo's alpha channel.
            resolution: "full" returns the photo at its own size, sharp: the network sees it at the
                size it was trained at, and the photo takes on its change of colour. A number
                returns what the network itself makes of the photo, squeezed to that many pixels a
                side, as the released code does.
            strength: how much of the change to make, from 0 to 1.

        Returns:
            [height, width, 3] RGB of the photo's type (uint8 for a resolution in numbers), one
            array or as many as photos were given. At full resolution it equals the photo where the
            mask is 0.

        Raises:
            InputError: an array's shape or type does not fit, a mask has no foreground or no
                background, or the network cannot take the resolution.
        """
        images, masks, one = _listed(image, mask)
        results = self.harmonize_all(images, masks, resolution=resolution, strength=strength)
        return results[0].image if one else [result.image for result in results]

    def harmonize_all(
        self,
        images: Sequence[Photo],
        masks: Sequence[Photo | None],
        *,
        resolution: Resolution = "full",
        strength: float = 1.0,
    ) -> list[Harmonized]:
        """Harmonizes several photos, and tells where the network painted; see `harmonize`."""
        if len(images) != len(masks):
            raise InputError(f"{len(images)} images and {len(masks)} masks: expected as many")
        if not 0 <= strength <= 1:
            raise InputError(f"strength {strength}: expected 0 to 1")
        if resolution != "full" and (not isinstance(resolution, int) or resolution < 1):
            raise InputError(f'resolution {resolution!r}: expected "full" or a number of pixels')
        size = self._image_size if resolution == "full" else resolution
        self._model.check_image_size(size, size)
        pairs = []
        for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
            with _named(number, len(images)):
                pairs.append(_pair(image, mask))
        results: list[Harmonized] = []
        for batch in _batches(pairs):
            small = np.stack([_shrink(_to_uint8(pixels), size) for pixels, _ in batch])
            small_masks = np.stack([_shrink(mask, size) for _, mask in batch])
            for number, (small_mask, (_, mask)) in enumerate(zip(small_masks, batch, strict=True)):
                with _named(len(results) + number, len(images)):
                    _check_small(small_mask, mask)
            if resolution == "full":
                found, blend_masks = self._transform(self._variables, small, small_masks)
            else:
                found, blend_masks = self._network(self._variables, small, small_masks)
            found = np.asarray(found)
            if not np.isfinite(found).all():
                raise InputError("the network's output is not finite: choose another checkpoint")
            for number, (pixels, mask) in enumerate(batch):
                if resolution == "full":
                    image = self._recolor(found[number], pixels, mask, strength)
                else:
                    change = found[number] - small[number]
                    image = np.rint(small[number] + strength * change).astype(np.uint8)
                blend_mask = None if blend_masks is None else np.asarray(blend_masks[number])
                results.append(Harmonized(image, blend_mask))
        return results

    def _recolor(
        self, coefficients: np.ndarray, pixels: np.ndarray, mask: Mask, strength: float
    ) -> np.ndarray:
        """Applies a color transform tile by tile; tiles without foreground stay as they are."""
        result = pixels.copy()
        size = np.array(mask.shape, np.float32)
        placed = jax.device_put(coefficients)
        scale = np.float32(strength / 255)
        waiting: list[tuple[tuple[slice, slice], jax.Array]] = []

        def collect() -> None:
            for window, tile in waiting:
                view = result[window]
                view[:] = np.asarray(tile)[: view.shape[0], : view.shape[1]]
            waiting.clear()

        for top in range(0, mask.shape[0], _TILE):
            for left in range(0, mask.shape[1], _TILE):
                window = (slice(top, top + _TILE), slice(left, left + _TILE))
                if not mask[window].any():
                    continue
                weight = _padded(mask[window]) * scale
                origin = np.array([top, left], np.float32)
                waiting.append(
                    (window, self._apply(placed, _padded(pixels[window]), weight, origin, size))
                )
                if len(waiting) == _TILES_AT_ONCE:
                    collect()
        collect()
        return result


class _CompiledOnce:
    """A function compiled once for each shape of its arguments, however many threads call it."""

    def __init__(self, function: Callable):
        self._jitted = jax.jit(function)
        self._lock = threading.Lock()
        self._programs: dict[tuple, Callable] = {}

    def __call__(self, *arguments: Any) -> Any:
        key = tuple((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(arguments))
        with self._lock:
            if key not in self._programs:
                self._programs[key] = self._jitted.lower(*arguments).compile()
            program = self._programs[key]
        return program(*arguments)


def _listed(image: Any, mask: Any) -> tuple[list[Photo], list[Photo | None], bool]:
    """Photos and masks as lists, and whether there is one photo, not a list of one."""
    if isinstance(image, (list, tuple)) or getattr(image, "ndim", 0) == 4:
        images = list(image)
        return images, [None] * len(images) if mask is None else list(mask), False
    return [image], [mask], True


def _batches(
    pairs: Sequence[tuple[np.ndarray, Mask]],
) -> Iterator[Sequence[tuple[np.ndarray, Mask]]]:
    """Cuts off batches whose sizes are powers of two, so that few sizes are compiled."""
    start = 0
    while start < len(pairs):
        size = _MAX_BATCH
        while size > len(pairs) - start:
            size //= 2
        yield pairs[start : start + size]
        start += size


def _pair(image: Photo, mask: Photo | None) -> tuple[np.ndarray, Mask]:
    """A photo's pixels and its mask, checked, of one size."""
    photo = _as_picture(image)
    if mask is not None:
        foreground = _as_mask(mask)
    elif photo.alpha is not None:
        foreground = mask_of(photo._replace(pixels=np.repeat(photo.alpha[:, :, None], 3, 2)))
    else:
        raise InputError("no mask: pass one, or an image with an alpha channel")
    height, width, _ = photo.pixels.shape
    if foreground.shape != (height, width):
        warnings.warn(
            f"the mask is {foreground.shape[1]} x {foreground.shape[0]}, the image {width} x "
            f"{height}: the mask is resized",
            stacklevel=4,
        )
        foreground = fit_size(foreground, height, width)
    check_mask(foreground)
    return photo.pixels, foreground


def _as_picture(image: Photo) -> Picture:
    if isinstance(image, Image.Image):
        return picture_of(image)
    pixels = np.asarray(image)
    if (
        pixels.dtype not in (np.uint8, np.uint16)
        or pixels.ndim != 3
        or pixels.shape[2] not in (3, 4)
        or not pixels.size
    ):
        raise InputError(
            f"image {pixels.dtype} {pixels.shape}: expected uint8 or uint16 [height, width, 3] "
            "RGB, or with alpha [height, width, 4]"
        )
    alpha = pixels[:, :, 3] if pixels.shape[2] == 4 else None
    return Picture(np.ascontiguousarray(pixels[:, :, :3]), alpha)


def _as_mask(mask: Photo) -> Mask:
    if isinstance(mask, Image.Image):
        return mask_of(picture_of(mask))
    values = np.asarray(mask)
    if values.ndim == 3 and values.shape[2] in (1, 3):
        values = values[:, :, 0]
    if values.ndim != 2 or not values.size:
        raise InputError(f"mask {values.dtype} {values.shape}: expected [height, width]")
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    if values.dtype == bool:
        return values.astype(np.uint8) * 255
    if jnp.issubdtype(values.dtype, jnp.floating):
        low, high = float(values.min()), float(values.max())
        if low >= 0 and high <= 1:
            return np.rint(values.astype(np.float32) * 255).astype(np.uint8)
        raise InputError(f"mask {values.dtype} from {low:g} to {high:g}: expected 0 to 1")
    raise InputError(f"mask {values.dtype}: expected uint8, bool, or floating point in [0, 1]")


def _shrink(pixels: np.ndarray, size: int) -> np.ndarray:
    """To the network's size, as the data set is: to at most 1024 pixels a side, then bilinear."""
    scale = _LARGEST_SIDE / max(pixels.shape[:2])
    if scale < 1:
        height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return resize(pixels, size)


def _to_uint8(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.dtype == np.uint8 else cv2.convertScaleAbs(pixels, alpha=1 / 257)


def _padded(pixels: np.ndarray) -> np.ndarray:
    """A whole tile; what is beyond the photo is cut off again."""
    height, width = pixels.shape[:2]
    if (height, width) == (_TILE, _TILE):
        return np.ascontiguousarray(pixels)
    tile = np.zeros((_TILE, _TILE, *pixels.shape[2:]), pixels.dtype)
    tile[:height, :width] = pixels
    return tile


def _check_small(small_mask: Mask, mask: Mask) -> None:
    if small_mask.max() <= FOREGROUND:
        height, width = small_mask.shape
        raise InputError(
            f"the foreground is too small ({(mask > FOREGROUND).sum()} pixels, and none of the "
            f"network's {width} x {height}): crop the photo around it"
        )


@contextmanager
def _named(number: int, count: int) -> Iterator[None]:
    """Says which of several images an error is about."""
    try:
        yield
    except InputError as error:
        raise InputError(f"image {number}: {error}" if count > 1 else str(error)) from error
