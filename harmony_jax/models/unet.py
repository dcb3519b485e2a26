"""S2AM, iS2AM and iSEUNet: U-Nets with attention in the decoder.

Attribute names follow the released PyTorch modules, so that parameter paths are their keys.
"""

from collections.abc import Callable
from functools import partial

from flax import nnx
from jaxtyping import Array

from harmony_jax.errors import InputError
from harmony_jax.models.attention import MaskedChannelAttention, SpatialSeparatedAttention
from harmony_jax.models.channel_padding import Channels
from harmony_jax.models.feature_fusion import BackboneFeatures, Decoder, Encoder
from harmony_jax.models.interfaces import BaseNetwork
from harmony_jax.models.layers import LayerMaker, Named, Sequential, concatenate, max_pool, relu
from harmony_jax.models.resizing import resize

_ATTENTIONS = ("spatial_separated", "masked_channel")


class UNetHarmonization(BaseNetwork):
    """U-Net that sees composite and mask and predicts the harmonized image.

    With `spatial_separated` attention it is S2AM (Cun and Pun, 2020), with the blending layer
    besides iS2AM; with `masked_channel` attention it is the released code's iSEUNet.

    Args:
        depth: number of encoder blocks; all but the last are followed by 2x2 max-pooling.
        attention: `spatial_separated` or `masked_channel`.
        attention_width: of the spatial separated block, relative to the block's input.
        attend_from: first decoder block with attention.
        batchnorm_from: first encoder block with batch normalisation (the decoder always has it).
        image_fusion: whether to end in the blending layer.
        channels: channels of the first block; they double with each block.
        max_channels: no block has more.
        backbone_features: feature maps that the model will be called with.
    """

    def __init__(
        self,
        make: LayerMaker,
        *,
        depth: int,
        attention: str,
        attention_width: float = 2.0,
        attend_from: int,
        batchnorm_from: int = 2,
        image_fusion: bool = False,
        channels: int = 64,
        max_channels: int = 512,
        backbone_features: BackboneFeatures | None = None,
    ):
        if depth < 2:
            raise InputError(f"depth {depth}: a U-Net has at least 2 levels")
        if attention not in _ATTENTIONS:
            raise InputError(f"attention {attention!r}: choose {' or '.join(_ATTENTIONS)}")
        self.depth = depth
        self.size_step = self.least_size = 2 ** (depth - 1)
        widths = tuple(min(channels * 2**i, max_channels) for i in range(depth))

        def down_block(level: int, inputs: Channels) -> Named:
            batchnorm = level >= batchnorm_from
            return Named("convs", _double_conv(make, inputs, widths[level], batchnorm))

        self.encoder = Encoder(
            make, widths, backbone_features, down_block, partial(max_pool, window=2)
        )
        inputs = widths[::-1]
        attend = (
            partial(SpatialSeparatedAttention, width=attention_width)
            if attention == "spatial_separated"
            else MaskedChannelAttention
        )

        def up_block(number: int, channels: Channels) -> UpBlock:
            outputs = inputs[number + 1]
            return UpBlock(make, channels, outputs, attend if number >= attend_from else None)

        self.decoder = Decoder(
            make,
            "up_blocks",
            inputs[:-1],
            backbone_features,
            depth - 1,
            up_block,
            inputs[-1],
            image_fusion,
        )


class UpBlock(nnx.Module):
    """Doubles the resolution, joins the skip, attends, convolves twice."""

    def __init__(
        self,
        make: LayerMaker,
        inputs: Channels,
        outputs: int,
        attention: Callable[[LayerMaker, int], nnx.Module] | None,
    ):
        self.upconv = Sequential([_double_size, _conv_relu(make, inputs, outputs, False)])
        self.convs = _double_conv(make, 2 * outputs, outputs, True)
        self.attention = attention(make, 2 * outputs) if attention else None

    def __call__(self, x: Array, skip: Array, mask: Array) -> Array:
        x = concatenate(skip, self.upconv(x))
        return self.convs(x if self.attention is None else self.attention(x, mask))


def _double_conv(make: LayerMaker, inputs: Channels, outputs: int, batchnorm: bool) -> Named:
    first = _conv_relu(make, inputs, outputs, batchnorm)
    return Named("block", Sequential([first, _conv_relu(make, outputs, outputs, batchnorm)]))


def _conv_relu(make: LayerMaker, inputs: Channels, outputs: int, batchnorm: bool) -> Named:
    conv = make.conv(inputs, outputs, 3)
    return Named("block", Sequential([conv, make.batchnorm(outputs) if batchnorm else None, relu]))


def _double_size(x: Array) -> Array:
    return resize(x, (2 * x.shape[1], 2 * x.shape[2]))
