"""Shapes of what networks take and give, as their signatures and those of losses name them."""

from jaxtyping import Array, Float

Image = Float[Array, "batch height width 3"]  # normalised, but where it says otherwise
Mask = Float[Array, "batch height width 1"]  # foreground in [0, 1]
