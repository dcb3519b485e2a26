"""DIH and iDIH: the convolutional encoder-decoder (paper, section 3.1).

Attribute names follow the released PyTorch modules, so that parameter paths are their keys.
"""

from flax import nnx
from jaxtyping import Array

from harmony_jax.errors import InputError
from harmony_jax.models.attention import MaskedChannelAttention
from harmony_jax.models.channel_padding import Channels
from harmony_jax.models.feature_fusion import BackboneFeatures, Decoder, Encoder
from harmony_jax.models.interfaces import BaseNetwork
from harmony_jax.models.layers import ConvTranspose, LayerMaker, Named, Sequential, elu


class DeepImageHarmonization(BaseNetwork):
    """Encoder-decoder that sees composite and mask and predicts the harmonized image.

    Args:
        depth: number of stride-2 convolutions; the bottleneck of a 2 ** (depth + 1) image is 1x1.
        batchnorm_from: first encoder block with batch normalisation (the decoder always has it).
        attend_from: first decoder block with channel attention by foreground; None: no block.
        image_fusion: whether to end in the blending layer, which makes DIH an iDIH.
        channels: channels of the first two blocks; they double every second block.
        max_channels: no block has more.
        backbone_features: feature maps that the model will be called with.
    """

    def __init__(
        self,
        make: LayerMaker,
        *,
        depth: int,
        batchnorm_from: int = 0,
        attend_from: int | None = None,
        image_fusion: bool = False,
        channels: int = 64,
        max_channels: int = 512,
        backbone_features: BackboneFeatures | None = None,
    ):
        if depth < 2:
            raise InputError(f"depth {depth}: an encoder-decoder has at least 2 levels")
        self.depth = depth
        self.size_step, self.least_size = 2**depth, 2 ** (depth + 1)
        widths = tuple(min(channels * 2 ** (i // 2), max_channels) for i in range(depth))

        def halving_conv(level: int, inputs: Channels) -> Named:
            """4x4 convolution of stride 2; the last has no padding and turns 4x4 into 1x1."""
            padding = 0 if level == depth - 1 else 1
            conv = make.conv(inputs, widths[level], 4, stride=2, padding=padding)
            norm = make.batchnorm(widths[level]) if level >= batchnorm_from else None
            return Named("block", Sequential([conv, norm, elu]))

        self.encoder = Encoder(make, widths, backbone_features, halving_conv)
        inputs = widths[::-1]
        outputs = (*inputs[1:], inputs[-1] // 2)

        def doubling_conv(number: int, channels: Channels) -> DoublingConv:
            attention = attend_from is not None and number >= attend_from
            padding = 0 if number == 0 else 1
            return DoublingConv(make, channels, outputs[number], padding, attention)

        self.decoder = Decoder(
            make,
            "deconv_blocks",
            inputs,
            backbone_features,
            depth,
            doubling_conv,
            outputs[-1],
            image_fusion,
        )


class DoublingConv(nnx.Module):
    """Transposed convolution, batch normalisation, ELU, attention if asked for, additive skip."""

    def __init__(
        self, make: LayerMaker, inputs: Channels, outputs: int, padding: int, attention: bool
    ):
        conv = ConvTranspose(make, inputs, outputs, padding)
        self.block = Sequential([conv, make.batchnorm(outputs), elu])
        self.se = MaskedChannelAttention(make, outputs) if attention else None

    def __call__(self, y: Array, skip: Array | None, mask: Array) -> Array:
        y = self.block(y)
        if self.se is not None:
            y = self.se(y, mask)
        return y if skip is None else y + skip
