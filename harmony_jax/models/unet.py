"""S2AM, iS2AM and iSEUNet: U-Nets with attention in the decoder.

Attribute names follow the released PyTorch modules, so that parameter paths are their keys.
"""

from collections.abc import Callable, Sequence
from functools import partial

from flax import nnx
from jaxtyping import Array

from harmony_jax.arrays import Image, Mask
from harmony_jax.errors import InputError
from harmony_jax.models.attention import MaskedChannelAttention, SpatialSeparatedAttention
from harmony_jax.models.blending import Projection, to_output
from harmony_jax.models.channel_padding import Channels
from harmony_jax.models.feature_fusion import BackboneFeatures, Connectors, Encoder
from harmony_jax.models.interfaces import BaseNetwork, FeatureMap, Output
from harmony_jax.models.layers import (
    LayerMaker,
    Named,
    Sequential,
    concatenate,
    max_pool,
    relu,
)
from harmony_jax.models.resizing import resize

_ATTENTIONS = ("spatial_separated", "masked_channel")


class UNetHarmonization(BaseNetwork):
    """U-Net that sees composite and mask and predicts the harmonized image.

    With `spatial_separated` attention it is S2AM (Cun and Pun, 2020), with the blending layer
    besides iS2AM; with `masked_channel` attention it is the released code's iSEUNet.

    Args:
        make: layer maker.
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
        self.decoder = UNetDecoder(
            make,
            widths,
            partial(SpatialSeparatedAttention, width=attention_width)
            if attention == "spatial_separated"
            else MaskedChannelAttention,
            attend_from,
            image_fusion,
            backbone_features,
        )


class UNetDecoder(nnx.Module):
    """Upsampling blocks with concatenated skips, then colours and blend mask by 1x1."""

    def __init__(
        self,
        make: LayerMaker,
        encoder_channels: tuple[int, ...],
        attention: Callable[[LayerMaker, int], nnx.Module],
        attend_from: int,
        image_fusion: bool,
        features: BackboneFeatures | None,
    ):
        inputs = encoder_channels[::-1]
        self.depth = depth = len(inputs)
        self.connectors = Connectors(
            make, features, "decoder", {depth - 1 - i: inputs[i] for i in range(depth - 1)}
        )
        self.up_blocks = nnx.List(
            UpBlock(
                make,
                self.connectors.output_channels(depth - 1 - i, inputs[i]),
                inputs[i + 1],
                attention if i >= attend_from else None,
            )
            for i in range(depth - 1)
        )
        self.conv_attention = Projection(make, inputs[-1], 1) if image_fusion else None
        self.to_rgb = Projection(make, inputs[-1], 3)

    def __call__(
        self,
        encoder_outputs: list[Array],
        image: Image,
        mask: Mask,
        features: Sequence[FeatureMap],
    ) -> Output:
        x = encoder_outputs[-1]
        for i, block in enumerate(self.up_blocks):
            x = self.connectors.connect(self.depth - 1 - i, x, features)
            x = block(x, encoder_outputs[-2 - i], mask)
        return to_output(x, image, self.to_rgb, self.conv_attention)


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
