"""S2AM, iS2AM and iSEUNet: U-Nets with attention in the decoder.

Attribute names follow the released PyTorch modules, so that parameter paths are their keys.
"""

from collections.abc import Callable, Sequence
from functools import partial

from flax import nnx
from jaxtyping import Array, Float

from harmony_jax.arrays import Image, Mask
from harmony_jax.errors import InputError
from harmony_jax.models.attention import MaskedChannelAttention, SpatialSeparatedAttention
from harmony_jax.models.blending import Projection, to_output
from harmony_jax.models.channel_padding import Channels
from harmony_jax.models.feature_fusion import BackboneFeatures, Connectors, connect
from harmony_jax.models.interfaces import BaseNetwork, FeatureMap, Output
from harmony_jax.models.layers import (
    LayerMaker,
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
        self.encoder = UNetEncoder(
            make, depth, channels, max_channels, batchnorm_from, backbone_features
        )
        self.decoder = UNetDecoder(
            make,
            self.encoder.block_channels,
            partial(SpatialSeparatedAttention, width=attention_width)
            if attention == "spatial_separated"
            else MaskedChannelAttention,
            attend_from,
            image_fusion,
            backbone_features,
        )

    def __call__(
        self,
        image: Image,
        mask: Mask,
        features: Sequence[FeatureMap] = (),
        *,
        rngs: nnx.Rngs | None = None,
    ) -> Output:
        """Harmonizes a batch; see `HarmonizationModel`. There is no dropout.

        Raises:
            InputError: a side is not a multiple of 2 ** (depth - 1).
        """
        self.check_image_size(image.shape[1], image.shape[2])
        blocks = self.encoder(concatenate(image, mask), features)
        return self.decoder(blocks, image, mask, features)

    @property
    def size_divisor(self) -> int:
        """Pictures of any size are padded to multiples of it."""
        return 2 ** (self.depth + 1)

    def check_image_size(self, height: int, width: int) -> None:
        """Raises InputError unless the network can take the size in pixels."""
        step = 2 ** (self.depth - 1)
        if height % step or width % step or min(height, width) < step:
            raise InputError(
                f"image size {height}x{width} (height x width): a U-Net of depth {self.depth} "
                f"takes multiples of {step}"
            )


class UNetEncoder(nnx.Module):
    """`depth` pairs of convolutions, each pair at half the resolution of the one before."""

    def __init__(
        self,
        make: LayerMaker,
        depth: int,
        channels: int,
        max_channels: int,
        batchnorm_from: int,
        features: BackboneFeatures | None,
    ):
        self.dtype = make.dtype
        self.features_level = features.level if features else 0
        self.block_channels = tuple(min(channels * 2**i, max_channels) for i in range(depth))
        inputs = (4, *self.block_channels)
        self.connectors = Connectors(
            make, features, "encoder", {i: inputs[i] for i in range(2, depth)}
        )
        blocks = [
            DownBlock(
                make,
                self.connectors.output_channels(i, inputs[i]),
                self.block_channels[i],
                batchnorm=i >= batchnorm_from,
            )
            for i in range(depth)
        ]
        self.block0, self.block1 = blocks[:2]
        self.blocks_connected = nnx.Dict({f"block{i}": blocks[i] for i in range(2, depth)})

    def __call__(
        self, x: Float[Array, "batch height width 4"], features: Sequence[FeatureMap]
    ) -> list[Array]:
        """Returns the output of each block, the highest resolution first."""
        x = x.astype(self.dtype)
        outputs: list[Array] = []
        blocks = (self.block0, self.block1, *self.blocks_connected.values())
        for level, block in enumerate(blocks):
            if outputs:
                x = max_pool(x, 2)
            x = block(connect(self.connectors, level, x, features, self.features_level))
            outputs.append(x)
        return outputs


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
        self.features_level = features.level if features else 0
        inputs = encoder_channels[::-1]
        self.depth = depth = len(inputs)
        self.connectors = Connectors(
            make, features, "decoder", {depth - 1 - i: inputs[i] for i in range(depth - 1)}
        )
        self.up_blocks = nnx.List(
            [
                UpBlock(
                    make,
                    self.connectors.output_channels(depth - 1 - i, inputs[i]),
                    inputs[i + 1],
                    attention if i >= attend_from else None,
                )
                for i in range(depth - 1)
            ]
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
            x = connect(self.connectors, self.depth - 1 - i, x, features, self.features_level)
            x = block(x, encoder_outputs[-2 - i], mask)
        return to_output(x, image, self.to_rgb, self.conv_attention)


class DownBlock(nnx.Module):
    """Two convolutions; pooling is left to the encoder."""

    def __init__(self, make: LayerMaker, inputs: Channels, outputs: int, *, batchnorm: bool):
        self.convs = DoubleConv(make, inputs, outputs, batchnorm=batchnorm)

    def __call__(self, x: Array) -> Array:
        return self.convs(x)


class UpBlock(nnx.Module):
    """Doubles the resolution, joins the skip, attends, convolves twice."""

    def __init__(
        self,
        make: LayerMaker,
        inputs: Channels,
        outputs: int,
        attention: Callable[[LayerMaker, int], nnx.Module] | None,
    ):
        self.upconv = Sequential([_double_size, ConvReLU(make, inputs, outputs, batchnorm=False)])
        self.convs = DoubleConv(make, 2 * outputs, outputs, batchnorm=True)
        self.attention = attention(make, 2 * outputs) if attention else None

    def __call__(self, x: Array, skip: Array, mask: Array) -> Array:
        x = concatenate(skip, self.upconv(x))
        return self.convs(x if self.attention is None else self.attention(x, mask))


class DoubleConv(nnx.Module):
    """Two 3x3 convolutions, each with optional batch normalisation and ReLU."""

    def __init__(self, make: LayerMaker, inputs: Channels, outputs: int, *, batchnorm: bool):
        self.block = Sequential(
            [
                ConvReLU(make, inputs, outputs, batchnorm=batchnorm),
                ConvReLU(make, outputs, outputs, batchnorm=batchnorm),
            ]
        )

    def __call__(self, x: Array) -> Array:
        return self.block(x)


class ConvReLU(nnx.Module):
    """3x3 convolution, optional batch normalisation, ReLU."""

    def __init__(self, make: LayerMaker, inputs: Channels, outputs: int, *, batchnorm: bool):
        norm = make.batchnorm(outputs) if batchnorm else None
        self.block = Sequential([make.conv(inputs, outputs, 3), norm, relu])

    def __call__(self, x: Array) -> Array:
        return self.block(x)


def _double_size(x: Array) -> Array:
    return resize(x, (2 * x.shape[1], 2 * x.shape[2]))
