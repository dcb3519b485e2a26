"""Where and how a base network takes the feature maps of a backbone (paper, section 3.3)."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from flax import nnx
from jaxtyping import Array, Float

from harmony_jax.arrays import Image, Mask
from harmony_jax.errors import InputError
from harmony_jax.models.blending import Projection, to_output
from harmony_jax.models.channel_padding import Channels, pad_axis, segments_of
from harmony_jax.models.interfaces import Output
from harmony_jax.models.layers import LayerMaker, Named, concatenate

FUSE_INTO = ("encoder", "decoder", "both")
FUSE_MODES = ("cat", "catc", "sum")


class BackboneFeatures(NamedTuple):
    """Feature maps on offer, and their use.

    Attributes:
        channels: of each map, or of each array side by side in it; the finest map comes first, and
            each has half the resolution of the one before.
        level: of the finest map; a map of level n has a stride of 2 ** n pixels.
        into: `encoder`, `decoder` or `both`.
        mode: `cat` concatenates, `catc` also restores the number of channels by a 1x1 convolution,
            `sum` adds the map after a 1x1 convolution.
    """

    channels: tuple[Channels, ...]
    level: int
    into: str
    mode: str


class FeatureConnector(nnx.Module):
    """Joins one feature map, the backbone's number `index`, to the activations of its size."""

    def __init__(
        self, make: LayerMaker, mode: str, inputs: int, features: Channels, index: int = 0
    ):
        self.mode, self.features, self.index = mode, sum(segments_of(features)), index
        joined = (inputs, *segments_of(features))
        if mode == "catc":
            self.reduce_conv = make.conv(joined, inputs, 1)
        elif mode == "sum":
            self.reduce_conv = make.conv(features, inputs, 1)
        self.output_channels: Channels = joined if mode == "cat" else inputs

    def __call__(
        self,
        x: Float[Array, "batch height width inputs"],
        features: Float[Array, "batch height width features"],
    ) -> Float[Array, "batch height width outputs"]:
        if self.mode == "sum":
            return self.reduce_conv(features) + x
        if features.shape[-1] > self.features:  # padded, so all arrays side by side must be
            x = pad_axis(x, -1)
        joined = concatenate(x, features)
        return joined if self.mode == "cat" else self.reduce_conv(joined)


class Connectors(nnx.Dict):
    """The connectors of an encoder or a decoder, one for each level that takes a map.

    Args:
        features: what the backbone offers; None: nothing.
        side: `encoder` or `decoder`.
        inputs: channels of the activations, by level; maps of other levels are left out.
    """

    def __init__(
        self, make: LayerMaker, features: BackboneFeatures | None, side: str, inputs: dict[int, int]
    ):
        connectors = {}
        if features is not None and features.into in (side, "both"):
            for i, channels in enumerate(features.channels):
                level = features.level + i
                if level in inputs:
                    connectors[f"connector{level}"] = FeatureConnector(
                        make, features.mode, inputs[level], channels, i
                    )
        super().__init__(connectors)

    def output_channels(self, level: int, inputs: int) -> Channels:
        """Channels after the level's connector, or as they were without one."""
        name = f"connector{level}"
        return self[name].output_channels if name in self else inputs

    def connect(self, level: int, x: Array, features: Sequence[Array]) -> Array:
        """Applies the level's connector, if there is one, to its map of `features`."""
        name = f"connector{level}"
        return self[name](x, features[self[name].index]) if name in self else x


class Encoder(nnx.Module):
    """Blocks of decreasing resolution; a backbone's map is joined before the block of its level.

    Args:
        channels: of each block's output.
        features: what the backbone offers.
        make_block: makes a block from its level and input channels.
        between: applied between two blocks.
    """

    def __init__(
        self,
        make: LayerMaker,
        channels: tuple[int, ...],
        features: BackboneFeatures | None,
        make_block: Callable[[int, Channels], Named],
        between: Callable[[Array], Array] | None = None,
    ):
        self.dtype, self.between = make.dtype, between
        inputs = (4, *channels)
        levels = range(len(channels))
        self.connectors = Connectors(make, features, "encoder", {i: inputs[i] for i in levels[2:]})
        blocks = [make_block(i, self.connectors.output_channels(i, inputs[i])) for i in levels]
        self.block0, self.block1 = blocks[:2]
        self.blocks_connected = nnx.Dict({f"block{i}": blocks[i] for i in levels[2:]})

    def __call__(
        self, x: Float[Array, "batch height width 4"], features: Sequence[Array]
    ) -> list[Array]:
        """Returns the output of each block, the highest resolution first."""
        x = x.astype(self.dtype)
        outputs: list[Array] = []
        blocks = (self.block0, self.block1, *self.blocks_connected.values())
        for level, block in enumerate(blocks):
            if outputs and self.between is not None:
                x = self.between(x)
            x = block(self.connectors.connect(level, x, features))
            outputs.append(x)
        return outputs


class Decoder(nnx.Module):
    """Blocks of increasing resolution, then colours and blend mask by 1x1 convolutions.

    Args:
        name: of the blocks, in the released code.
        inputs: channels that each block gets from the one before.
        features: what the backbone offers; a map is joined before the block of its level.
        level: of the first block's input.
        make_block: makes a block from its number and input channels. It is called with its input,
            the encoder's output that has the resolution of its own output (None: there is none),
            and the mask.
        outputs: channels of the last block's output.
        image_fusion: whether to end in the blending layer.
    """

    def __init__(
        self,
        make: LayerMaker,
        name: str,
        inputs: Sequence[int],
        features: BackboneFeatures | None,
        level: int,
        make_block: Callable[[int, Channels], nnx.Module],
        outputs: int,
        image_fusion: bool,
    ):
        self.name, self.level = name, level
        levels = {level - i: channels for i, channels in enumerate(inputs)}
        self.connectors = Connectors(make, features, "decoder", levels)
        blocks = (
            make_block(i, self.connectors.output_channels(level - i, channels))
            for i, channels in enumerate(inputs)
        )
        setattr(self, name, nnx.List(blocks))
        self.conv_attention = Projection(make, outputs, 1) if image_fusion else None
        self.to_rgb = Projection(make, outputs, 3)

    def __call__(
        self, encoder_outputs: list[Array], image: Image, mask: Mask, features: Sequence[Array]
    ) -> Output:
        *skips, x = encoder_outputs
        for i, block in enumerate(getattr(self, self.name)):
            skip = skips.pop() if skips else None
            x = block(self.connectors.connect(self.level - i, x, features), skip, mask)
        return to_output(x, image, self.to_rgb, self.conv_attention)


def check_fusion(features: BackboneFeatures) -> None:
    """Raises InputError unless `into` and `mode` are known."""
    if features.into not in FUSE_INTO:
        raise InputError(f"fuse_into {features.into!r}: choose {', '.join(FUSE_INTO)}")
    if features.mode not in FUSE_MODES:
        raise InputError(f"fuse_mode {features.mode!r}: choose {', '.join(FUSE_MODES)}")
