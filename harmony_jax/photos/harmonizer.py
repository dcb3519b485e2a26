"""Harmonizes photos of any size: the network at its own size, its change of colour at theirs."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from numbers import Integral
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from harmony_jax.devices.compiled_once import CompiledOnce
from harmony_jax.errors import InputError
from harmony_jax.models import HarmonizationModel
from harmony_jax.normalization import denormalize, normalize
from harmony_jax.photos.arguments import Photo, as_picture, checked_strength, listed
from harmony_jax.photos.color_transform import fit_color_transform
from harmony_jax.photos.masks import FOREGROUND, cut_out
from harmony_jax.photos.pasting import Placement, paste
from harmony_jax.photos.picture_frame import PictureFrame, frames_of
from harmony_jax.photos.recolor import Recolor
from harmony_jax.photos.steady import (
    SMOOTHING,
    AnyFrame,
    Steadiness,
    Transform,
    check_steadiness,
    steady_transforms,
)
from harmony_jax.variables import split
from harmony_jax.weights.released import checkpoint_path
from harmony_jax.weights.saved_model import load_model

_MAX_BATCH = 8

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
    """Harmonizes composites; see `from_checkpoint`. Threads may share one.

    Args:
        model: a network.
        image_size: the size it sees, in pixels a side.
        mirror: whether its answers to photos are averaged with those to their mirror images, which
            are a little better and take the network twice as long. In clips they never are.
    """

    def __init__(self, model: HarmonizationModel, image_size: int, mirror: bool = True):
        self._model, self._image_size = model, image_size
        graph, variables = split(model)
        # A flat list: each call would walk a tree again.
        self._arrays, tree = jax.tree.flatten(variables)

        def network(
            arrays: list[jax.Array], image: jax.Array, mask: jax.Array
        ) -> tuple[jax.Array, jax.Array | None]:
            foreground = (mask > FOREGROUND).astype(jnp.float32)[..., None]
            variables = jax.tree.unflatten(tree, arrays)
            output = nnx.merge(graph, *variables)(normalize(image), foreground)
            blend_mask = output.blend_mask
            return (
                jnp.clip(denormalize(output.image), 0, 255),
                None if blend_mask is None else blend_mask[..., 0].astype(jnp.float32),
            )

        def mirrored_too(
            arrays: list[jax.Array], image: jax.Array, mask: jax.Array
        ) -> tuple[jax.Array, jax.Array | None]:
            def mean(answers: jax.Array) -> jax.Array:
                straight, mirrored = jnp.split(answers, 2)
                return (straight + mirrored[:, :, ::-1]) / 2

            both = (jnp.concatenate([x, x[:, :, ::-1]]) for x in (image, mask))
            return jax.tree.map(mean, network(arrays, *both))

        def fit(
            mirror: bool, arrays: list[jax.Array], image: jax.Array, mask: jax.Array
        ) -> tuple[jax.Array, jax.Array | None]:
            prediction, blend_mask = (mirrored_too if mirror else network)(arrays, image, mask)
            # A pixel that is half foreground shows half of the change, so it counts a quarter.
            weight = jnp.square(mask.astype(jnp.float32) / 255)
            return jax.vmap(fit_color_transform)(image, prediction, weight), blend_mask

        self._network = CompiledOnce(network)
        self._fit_photo = CompiledOnce(partial(fit, mirror))
        self._fit_frame = CompiledOnce(partial(fit, False))
        self._recolor = Recolor()

    @classmethod
    def from_checkpoint(
        cls, path: str | os.PathLike[str] | None = None, mirror: bool = True, **overrides: Any
    ) -> "Harmonizer":
        """Loads a model.

        Args:
            path: a workdir, its `checkpoints` folder (the best step is taken), or one step's
                folder; a .safetensors file that `scripts/convert_weights.py` wrote; `ready` (the
                default), the model that comes with the package; or the name of a released model,
                which is fetched and converted on first use (`harmony_jax.weights.released`).
            mirror: see `Harmonizer`.
            **overrides: arguments of the model, such as `dtype`, or `precision` (by default
                highest, see `create_model`).
        """
        model, loaded = load_model(checkpoint_path(path), **overrides)
        return cls(model, loaded.metadata["image_size"], mirror)

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
            image: a NumPy or JAX array [height, width, 3] in sRGB, uint8 or uint16, or a PIL image
                of any kind and profile. Or several: a list of photos of any sizes, or an array
                [batch, height, width, 3].
            mask: one for each photo: [height, width], 255 (True, or 1.0 in floating point) on the
                foreground; between 0 and 255, that share of the change is made. A mask of another
                size is resized with a warning. None takes the photo's alpha channel.
            resolution: "full" applies the network's change of colour to the photo at its own size.
                A number returns the network's own output for the photo squeezed to that many pixels
                a side, as the released code does.
            strength: how much of the change to make, from 0 to 2.

        Returns:
            [height, width, 3] RGB of the photo's type (uint8 for a resolution in numbers), or a
            list of them. At full resolution it equals the photo where the mask is 0.
        """
        images, masks, one = listed(image, mask)
        results = self.harmonize_all(images, masks, resolution=resolution, strength=strength)
        return results[0].image if one else [result.image for result in results]

    def paste(
        self,
        cutout: Photo,
        background: Photo,
        *,
        mask: Photo | None = None,
        strength: float = 1.0,
        **placement: Any,
    ) -> np.ndarray:
        """Pastes a cutout on a background, and makes its colours fit.

        Args:
            cutout: [height, width, 4] with its alpha channel, or any photo together with `mask`.
            background: a photo, as `harmonize` takes one.
            mask: the cutout's mask, if it has no alpha channel.
            strength: how much of the change to make, from 0 to 2.
            **placement: `at=(column, row)` of its upper left corner, or `gravity="south"`; and
                `scale=0.5`, or `fit=0.3` of the background. See `harmony_jax.photos.pasting`.

        Returns:
            [height, width, 3] RGB, of the background's size and type, and equal to it outside of
            the cutout.
        """
        picture = as_picture(cutout)
        if mask is not None:
            picture = cut_out(picture, PictureFrame(picture, mask, check=True).mask)
        composite, pasted = paste(picture, as_picture(background), Placement(**placement))
        return self.harmonize_all([composite], [pasted], strength=strength)[0].image

    def harmonize_video(
        self,
        frames: Iterable[Photo],
        masks: Iterable[Photo] | Photo | None = None,
        *,
        strength: float = 1.0,
        smoothing: float = SMOOTHING,
        every: int = 1,
    ) -> Iterator[np.ndarray]:
        """Makes the foreground's colours fit in every frame of a clip, without flicker.

        Only the frames around the current one are in memory.

        Args:
            frames: photos as `harmonize` takes them, in order of time.
            masks: one for each frame; one array or PIL image for all frames; or None, which takes
                the frames' alpha channels. A frame without foreground stays as it is.
            strength: how much of the change to make, from 0 to 2.
            smoothing, every: see `Steadiness`.

        Yields:
            As many frames as the shorter of `frames` and `masks` has: [height, width, 3] RGB of the
            frame's type, equal to it where the mask is 0.
        """
        strength = checked_strength(strength)
        steadiness = Steadiness(smoothing, every)
        check_steadiness(steadiness)
        return (
            frame.pixels
            if transform is None
            else frame.recolored(self._recolor, transform, strength)
            for frame, transform in self.transforms(frames_of(frames, masks), steadiness)
        )

    def transforms(
        self, frames: Iterable[AnyFrame], steadiness: Steadiness
    ) -> Iterator[tuple[AnyFrame, Transform | None]]:
        """The colour transforms of a clip's frames; see `steady_transforms`."""
        self._model.check_image_size(self._image_size, self._image_size)
        return steady_transforms(frames, self._image_size, self._fit_all, steadiness)

    def _fit_all(self, seen: np.ndarray, masks: np.ndarray) -> np.ndarray:
        found, _ = self._fit_frame(self._arrays, seen, masks)
        return _finite(found)

    def harmonize_all(
        self,
        images: Sequence[Photo],
        masks: Sequence[Photo | None],
        *,
        resolution: Resolution = "full",
        strength: float = 1.0,
    ) -> list[Harmonized]:
        """Harmonizes several photos, and returns their blend masks too; see `harmonize`."""
        if len(images) != len(masks):
            raise InputError(f"{len(images)} images and {len(masks)} masks: expected as many")
        strength = checked_strength(strength)
        if resolution != "full" and (not isinstance(resolution, Integral) or resolution < 1):
            raise InputError(f'resolution {resolution!r}: expected "full" or a number of pixels')
        size = self._image_size if resolution == "full" else resolution
        self._model.check_image_size(size, size)
        frames = []
        for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
            with _named(number, len(images)):
                frames.append(PictureFrame(image, mask, check=True))
        smalls = [frame.small(size) for frame in frames]
        for number, (frame, small) in enumerate(zip(frames, smalls, strict=True)):
            with _named(number, len(images)):
                if small.mask.max() <= FOREGROUND:
                    count = (frame.mask > FOREGROUND).sum()
                    raise InputError(
                        f"the foreground is too small ({count} pixels, and none of the network's "
                        f"{size} x {size}): crop the photo around it"
                    )
        run = self._fit_photo if resolution == "full" else self._network
        results: list[Harmonized] = []
        for batch in _batches(len(frames)):
            seen = np.stack([small.seen for small in smalls[batch]])
            small_masks = np.stack([small.mask for small in smalls[batch]])
            found, blend_masks = run(self._arrays, seen, small_masks)
            for number, (frame, answer) in enumerate(
                zip(frames[batch], _finite(found), strict=True)
            ):
                if resolution == "full":
                    image = frame.recolored(self._recolor, answer, strength)
                else:
                    image = seen[number] + strength * (answer - seen[number])
                    image = np.rint(np.clip(image, 0, 255)).astype(np.uint8)
                blend_mask = None if blend_masks is None else np.asarray(blend_masks[number])
                results.append(Harmonized(image, blend_mask))
        return results


def _finite(found: jax.Array) -> np.ndarray:
    values = np.asarray(found)
    if not np.isfinite(values).all():
        raise InputError("the network's output is not finite: choose another checkpoint")
    return values


def _batches(count: int) -> Iterator[slice]:
    """Batches whose sizes are powers of two, so that few sizes are compiled."""
    start = 0
    while start < count:
        size = _MAX_BATCH
        while size > count - start:
            size //= 2
        yield slice(start, start + size)
        start += size


@contextmanager
def _named(number: int, count: int) -> Iterator[None]:
    """Makes errors say which of several images they are about."""
    try:
        yield
    except InputError as error:
        raise InputError(f"image {number}: {error}" if count > 1 else str(error)) from error
