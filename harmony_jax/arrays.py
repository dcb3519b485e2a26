"""The shapes of images and masks in the signatures of networks and losses."""

from jaxtyping import Array, Float

Image = Float[Array, "batch height width 3"]  # normalised unless stated otherwise
Mask = Float[Array, "batch height width 1"]  # foreground in [0, 1]
