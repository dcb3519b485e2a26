"""Where and how a base network takes the feature maps of a backbone (paper, section 3.3)."""

from collections.abc import Sequence
from typing import NamedTuple

from flax import nnx
from jaxtyping import Array, Float

from harmony_jax.errors import InputError
from harmony_jax.models.channel_padding import Channels, pad_axis, segments_of
from harmony_jax.models.layers import LayerMaker, concatenate

FUSE_INTO = ("encoder", "decoder", "both")
FUSE_MODES = ("cat", "catc", "sum")


class BackboneFeatures(NamedTuple):
    """Feature maps on offer, and their use.

    Attributes:
        channels: of each map, or of each array that lies there side by side; the finest map comes
            first, and each has half the resolution of the one before.
        level: of the finest map; a map of level n has a stride of 2 ** n pixels.
        into: `encoder`, `decoder` or `both`.
        mode: `cat` concatenates, `catc` also brings the channels back to their number by a 1x1
            convolution, `sum` adds the map after a 1x1 convolution.
    """

    channels: tuple[Channels, ...]
    level: int
    into: str
    mode: str


class FeatureConnector(nnx.Module):
    """Joins one feature map to the activations of its resolution."""

    def __init__(self, make: LayerMaker, mode: str, inputs: int, features: Channels):
        self.mode, self.features = mode, sum(segments_of(features))
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
        if features.shape[-1] > self.features:  # padded: then all that lies side by side is
            x = pad_axis(x, -1)
        joined = concatenate(x, features)
        return joined if self.mode == "cat" else self.reduce_conv(joined)


class Connectors(nnx.Dict):
    """The connectors of an encoder or a decoder, one for each level that takes a map.

    Args:
        make: layer maker.
        features: what the backbone offers; None: nothing.
        side: `encoder` or `decoder`.
        inputs: channels of the activations, by level; maps of other levels are left out.
    """

    def __init__(
        self,
        make: LayerMaker,
        features: BackboneFeatures | None,
        side: str,
        inputs: dict[int, int],
    ):
        connectors = {}
        if features is not None and features.into in (side, "both"):
            for level, channels in enumerate(features.channels, features.level):
                if level in inputs:
                    connectors[f"connector{level}"] = FeatureConnector(
                        make, features.mode, inputs[level], channels
                    )
        super().__init__(connectors)

    def output_channels(self, level: int, inputs: int) -> Channels:
        """Channels after the level's connector, or as they were without one."""
        name = f"connector{level}"
        return self[name].output_channels if name in self else inputs


def connect(
    connectors: Connectors, level: int, x: Array, features: Sequence[Array], first_level: int
) -> Array:
    """Applies the level's connector, if there is one, to its map of `features`."""
    name = f"connector{level}"
    return connectors[name](x, features[level - first_level]) if name in connectors else x


def check_fusion(features: BackboneFeatures) -> None:
    """Raises InputError unless `into` and `mode` are known."""
    if features.into not in FUSE_INTO:
        raise InputError(f"fuse_into {features.into!r}: choose {', '.join(FUSE_INTO)}")
    if features.mode not in FUSE_MODES:
        raise InputError(f"fuse_mode {features.mode!r}: choose {', '.join(FUSE_MODES)}")
