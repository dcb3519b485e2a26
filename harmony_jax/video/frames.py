"""A frame of a clip and its mask, as the pipeline passes it on."""

from typing import Any

import numpy as np

from harmony_jax.data.resizing import shrink
from harmony_jax.photos.masks import PixelMask
from harmony_jax.photos.steady import Small, Transform, reach_of
from harmony_jax.video.pixels import (
    Planes,
    alpha_of,
    brightness_of,
    planes_of,
    rgb_of,
    seen_by_network,
)
from harmony_jax.video.recolor import recolor


class ClipFrame:
    """A decoded frame.

    Args:
        frame: a `VideoFrame` that nothing else holds, in a format that is worked on.
        turns: quarter turns, counterclockwise, from how it is stored to how it is shown.
    """

    def __init__(self, frame: Any, turns: int):
        self.frame, self.turns = frame, turns
        self._planes: Planes = planes_of(frame)
        self.mask: PixelMask | None = None
        self.is_opaque = False

    @property
    def size(self) -> tuple[int, int]:
        """Height and width as it is stored."""
        return self._planes.color[0].shape

    def alpha(self) -> PixelMask | None:
        """Its opacity, or None."""
        return alpha_of(self._planes)

    def drop_alpha(self) -> None:
        """From here on it is opaque, once it is written."""
        self.is_opaque = True

    def brightness(self) -> PixelMask:
        """Luma as it is stored upright or not, 0 to 255 from black to white."""
        return brightness_of(self._planes)

    def rgb(self) -> np.ndarray:
        """As it is shown: [height, width, 3], uint8 or uint16."""
        return np.rot90(rgb_of(self._planes), self.turns)

    def small(self, size: int) -> Small:
        """What the network sees, upright."""
        assert self.mask is not None
        mask = np.ascontiguousarray(np.rot90(self.mask, self.turns))
        seen = np.rot90(seen_by_network(self._planes, size), self.turns)
        return Small(np.ascontiguousarray(seen), shrink(mask, size), reach_of(mask))

    def recolor(self, coefficients: Transform, strength: float) -> None:
        """Changes its colours inside the mask; the transform is of the upright frame."""
        assert self.mask is not None
        stored = np.rot90(coefficients, -self.turns, axes=(1, 2))
        recolor(self._planes, stored, self.mask, strength, self.frame.interlaced_frame)
