"""Applies a colour transform to a photo of any size, tile by tile."""

import jax
import numpy as np
from jaxtyping import UInt

from harmony_jax.devices.compiled_once import CompiledOnce
from harmony_jax.photos.color_transform import Coefficients, apply_color_transform
from harmony_jax.photos.masks import PixelMask

_TILE = 512  # pixels a side; all tiles have this shape, so one program is enough
_TILES_AT_ONCE = 16  # sent to the device before the first result is fetched


class Recolor:
    """Applies colour transforms; compiled once for each type of pixels."""

    def __init__(self) -> None:
        self._apply = CompiledOnce(apply_color_transform)

    def __call__(
        self,
        coefficients: Coefficients | np.ndarray,
        pixels: UInt[np.ndarray, "height width 3"],
        mask: PixelMask,
        strength: float = 1.0,
    ) -> UInt[np.ndarray, "height width 3"]:
        """A copy of a photo with its colours changed inside the mask.

        Args:
            coefficients: [12, grid_height, grid_width], of `fit_color_transform`.
            pixels: RGB, uint8 or uint16 over the type's whole range.
            mask: of the photo's size; where it is 0, the copy equals the photo.
            strength: how much of the change to make, from 0 to 2.
        """
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


def _padded(pixels: np.ndarray) -> np.ndarray:
    """A whole tile; the caller cuts off what lies beyond the photo."""
    height, width = pixels.shape[:2]
    if (height, width) == (_TILE, _TILE):
        return np.ascontiguousarray(pixels)
    tile = np.zeros((_TILE, _TILE, *pixels.shape[2:]), pixels.dtype)
    tile[:height, :width] = pixels
    return tile
