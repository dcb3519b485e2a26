"""DIH and iDIH: the convolutional encoder-decoder (paper, section 3.1).

Attribute names follow the released PyTorch modules, so that parameter paths are their keys.
"""

from collections.abc import Sequence

from flax import nnx
from jaxtyping import Array, Float

from harmony_jax.arrays import Image, Mask
from harmony_jax.errors import InputError
from harmony_jax.models.attention import MaskedChannelAttention
from harmony_jax.models.blending import Projection, to_output
from harmony_jax.models.channel_padding import Channels
from harmony_jax.models.feature_fusion import BackboneFeatures, Connectors, connect
from harmony_jax.models.interfaces import BaseNetwork, FeatureMap, Output
from harmony_jax.models.layers import ConvTranspose, LayerMaker, Sequential, concatenate, elu


class DeepImageHarmonization(BaseNetwork):
    """Encoder-decoder that sees composite and mask and predicts the harmonized image.

    Args:
        make: layer maker.
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
        self.encoder = ConvEncoder(
            make, depth, channels, max_channels, batchnorm_from, backbone_features
        )
        self.decoder = DeconvDecoder(
            make, self.encoder.block_channels, attend_from, image_fusion, backbone_features
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
            InputError: a side is not a multiple of 2 ** depth, or below 2 ** (depth + 1).
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
        step = 2**self.depth
        if height % step or width % step or min(height, width) < 2 * step:
            raise InputError(
                f"image size {height}x{width} (height x width): a network of depth {self.depth} "
                f"takes multiples of {step}, at least {2 * step}, such as {2 * step}x{3 * step}"
            )


class ConvEncoder(nnx.Module):
    """`depth` convolutions of stride 2; the last has no padding and turns 4x4 into 1x1."""

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
        self.block_channels = tuple(
            min(channels * 2 ** (i // 2), max_channels) for i in range(depth)
        )
        inputs = (4, *self.block_channels)
        self.connectors = Connectors(
            make, features, "encoder", {i: inputs[i] for i in range(2, depth)}
        )
        blocks = [
            HalvingConv(
                make,
                self.connectors.output_channels(i, inputs[i]),
                self.block_channels[i],
                batchnorm=i >= batchnorm_from,
                padding=0 if i == depth - 1 else 1,
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
        outputs = []
        blocks = (self.block0, self.block1, *self.blocks_connected.values())
        for level, block in enumerate(blocks):
            x = block(connect(self.connectors, level, x, features, self.features_level))
            outputs.append(x)
        return outputs


class DeconvDecoder(nnx.Module):
    """Transposed convolutions with additive skips, then colours and blend mask by 1x1."""

    def __init__(
        self,
        make: LayerMaker,
        encoder_channels: tuple[int, ...],
        attend_from: int | None,
        image_fusion: bool,
        features: BackboneFeatures | None,
    ):
        self.features_level = features.level if features else 0
        inputs = encoder_channels[::-1]
        outputs = (*inputs[1:], inputs[-1] // 2)
        self.depth = depth = len(inputs)
        self.connectors = Connectors(
            make, features, "decoder", {depth - i: inputs[i] for i in range(depth)}
        )
        self.deconv_blocks = nnx.List(
            [
                DoublingConv(
                    make,
                    self.connectors.output_channels(depth - i, inputs[i]),
                    outputs[i],
                    padding=0 if i == 0 else 1,
                    attention=attend_from is not None and i >= attend_from,
                )
                for i in range(depth)
            ]
        )
        self.conv_attention = Projection(make, outputs[-1], 1) if image_fusion else None
        self.to_rgb = Projection(make, outputs[-1], 3)

    def __call__(
        self,
        encoder_outputs: list[Array],
        image: Image,
        mask: Mask,
        features: Sequence[FeatureMap],
    ) -> Output:
        x = encoder_outputs[-1]
        for i, block in enumerate(self.deconv_blocks):
            if i > 0:
                x = x + encoder_outputs[-1 - i]
            x = connect(self.connectors, self.depth - i, x, features, self.features_level)
            x = block(x, mask)
        return to_output(x, image, self.to_rgb, self.conv_attention)


class HalvingConv(nnx.Module):
    """4x4 convolution of stride 2, optional batch normalisation, ELU."""

    def __init__(
        self, make: LayerMaker, inputs: Channels, outputs: int, *, batchnorm: bool, padding: int
    ):
        conv = make.conv(inputs, outputs, 4, stride=2, padding=padding)
        self.block = Sequential([conv, make.batchnorm(outputs) if batchnorm else None, elu])

    def __call__(self, x: Array) -> Array:
        return self.block(x)


class DoublingConv(nnx.Module):
    """Transposed convolution, batch normalisation, ELU, optional attention by foreground."""

    def __init__(
        self, make: LayerMaker, inputs: Channels, outputs: int, *, padding: int, attention: bool
    ):
        conv = ConvTranspose(make, inputs, outputs, padding)
        self.block = Sequential([conv, make.batchnorm(outputs), elu])
        self.se = MaskedChannelAttention(make, outputs) if attention else None

    def __call__(self, y: Array, mask: Array) -> Array:
        y = self.block(y)
        return y if self.se is None else self.se(y, mask)
