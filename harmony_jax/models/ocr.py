"""Object-contextual representations (Yuan et al., 2020) with given regions.

The regions are the foreground mask and its complement: nothing predicts them. Attribute names
follow the released PyTorch modules, so that parameter paths are their keys.
"""

from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from harmony_jax.models.arithmetic import EXACT, widen
from harmony_jax.models.interfaces import FeatureMap
from harmony_jax.models.layers import LayerMaker, Sequential, apply_dropout, concatenate, relu
from harmony_jax.models.resizing import resize

Features = Float[Array, "batch height width features"]
Regions = Float[Array, "batch 1 regions features"]


class ObjectContext(nnx.Module):
    """Adds to each pixel the mean features of the regions, weighted by similarity.

    Args:
        features: channels of input and output.
        keys: channels in which pixels and regions are compared.
        dropout: rate, of whole channels.
    """

    def __init__(self, make: LayerMaker, features: int, keys: int, dropout: float):
        self.object_context_block = RegionAttention(make, features, keys)
        self.conv_bn_dropout = Sequential(
            [make.conv((features, features), features, 1, bias=False), _norm_relu(make, features)]
        )
        self.dropout = nnx.Dropout(dropout, broadcast_dims=(1, 2))

    def __call__(self, x: Features, mask: FeatureMap, rngs: nnx.Rngs | None) -> Features:
        context = self.object_context_block(x, gather_regions(x, mask))
        x = self.conv_bn_dropout(concatenate(context, x))
        return apply_dropout(self.dropout, x, rngs)


class RegionAttention(nnx.Module):
    """Attention from pixels to regions."""

    def __init__(self, make: LayerMaker, features: int, keys: int):
        def transform(*channels: int) -> Sequential:
            layers: list = []
            for inputs, outputs in pairwise(channels):
                layers += [make.conv(inputs, outputs, 1, bias=False), _norm_relu(make, outputs)]
            return Sequential(layers)

        self.keys = keys
        self.precision = make.precision
        self.f_pixel = transform(features, keys, keys)
        self.f_object = transform(features, keys, keys)
        self.f_down = transform(features, keys)
        self.f_up = transform(keys, features)

    def __call__(self, x: Features, regions: Regions) -> Features:
        query = self.f_pixel(x)
        key, value = self.f_object(regions)[:, 0], self.f_down(regions)[:, 0]
        likeness = jnp.einsum(
            "bhwc,brc->bhwr",
            query,
            key,
            precision=self.precision,
            preferred_element_type=jnp.float32,
        )
        weight = jax.nn.softmax(likeness * self.keys**-0.5)
        context = jnp.einsum("bhwr,brc->bhwc", weight, widen(value), precision=EXACT)
        return self.f_up(context.astype(x.dtype))


def gather_regions(x: Features, mask: FeatureMap) -> Regions:
    """Mean features of foreground and background, weighted by the softmax of the mask itself.

    The softmax is over all positions, so a pixel inside a region weighs e times as much as one
    outside.
    """
    batch, height, width, channels = x.shape
    mask = resize(mask.astype(jnp.float32), (height, width))
    masks = concatenate(mask, 1 - mask).reshape(batch, height * width, 2)
    # Not rounded to the type of `x`: only a few distinct weights occur, so the same rounding would
    # change the weight of thousands of positions.
    weight = jax.nn.softmax(masks, axis=1)
    positions = widen(x).reshape(batch, height * width, channels)
    regions = jnp.einsum("bpr,bpc->brc", weight, positions, precision=EXACT)
    return regions[:, None].astype(x.dtype)


def _norm_relu(make: LayerMaker, features: int) -> Sequential:
    return Sequential([make.batchnorm(features), relu])
