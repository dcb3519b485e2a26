"""What a harmonization model returns, and the blending layer of the improved models."""

from typing import NamedTuple

import jax
from jaxtyping import Array, Float


class Output(NamedTuple):
    """A model's answer.

    Attributes:
        image: harmonized image, normalised as the input.
        blend_mask: the paper's M_A in [0, 1], 1 where the output is the predicted colour and 0
            where it is the input; None for models without a blending layer.
    """

    image: Float[Array, "batch height width 3"]
    blend_mask: Float[Array, "batch height width 1"] | None


def blend(
    image: Float[Array, "batch height width 3"],
    rgb: Float[Array, "batch height width 3"],
    keep_logit: Float[Array, "batch height width 1"],
) -> Output:
    """Mixes the input with the predicted colours (paper, equation 1).

    The released weights predict the weight of the *input*, `sigmoid(3 * keep_logit)`; the paper's
    blend mask is one minus it.
    """
    blend_mask = jax.nn.sigmoid(-3.0 * keep_logit)
    return Output(image + blend_mask * (rgb - image), blend_mask)
