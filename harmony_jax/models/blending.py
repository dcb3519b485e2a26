"""The last layers of a model: colours by 1x1 convolution, and the blending layer."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from harmony_jax.arrays import Image, Mask
from harmony_jax.models.interfaces import Output
from harmony_jax.models.layers import LayerMaker, constants


class Projection(nnx.Module):
    """Kernel and bias of a 1x1 convolution, applied by `to_output`."""

    def __init__(self, make: LayerMaker, inputs: int, outputs: int):
        self.kernel = make.kernel(1, 1, inputs, outputs)
        self.bias = constants(outputs)
        self.precision = make.precision


def to_output(
    features: Float[Array, "batch height width features"],
    image: Image,
    to_rgb: Projection,
    conv_attention: Projection | None,
) -> Output:
    """Projects a decoder's last features to colours and, given `conv_attention`, blends.

    Both projections are one float32 matrix product, so that the full-resolution features are read
    once.
    """
    if conv_attention is None:
        return Output(_project(features, to_rgb), None)
    projected = _project(features, to_rgb, conv_attention)
    return blend(image, projected[..., :3], projected[..., 3:])


def blend(image: Image, rgb: Image, keep_logit: Mask) -> Output:
    """Mixes the input with the predicted colours (paper, equation 1).

    Released models predict the weight of the *input*, `sigmoid(3 * keep_logit)`. The paper's blend
    mask is one minus that.
    """
    blend_mask = jax.nn.sigmoid(-3.0 * keep_logit)
    return Output(image + blend_mask * (rgb - image), blend_mask)


def _project(x: Array, *heads: Projection) -> Float[Array, "batch height width k"]:
    kernel = jnp.concatenate([head.kernel[0, 0] for head in heads], -1)
    bias = jnp.concatenate([head.bias[...] for head in heads])
    product = jnp.matmul(
        x, kernel.astype(x.dtype), precision=heads[0].precision, preferred_element_type=jnp.float32
    )
    return product + bias
