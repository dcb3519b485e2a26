"""A feature pyramid by pooling, on one feature map (HRNetV2p; paper, section 3.3)."""

from flax import nnx
from jaxtyping import Array, Float

from harmony_jax.models.channel_padding import Channels
from harmony_jax.models.layers import LayerMaker, Named, elu, max_pool


class FeaturePyramid(nnx.Module):
    """`depth` maps of `channels` each, every one at half the resolution of the one before.

    The first has the resolution of the map that the pyramid is built on.
    """

    def __init__(self, make: LayerMaker, inputs: Channels, channels: int, depth: int):
        def conv(inputs: Channels, kernel_size: int) -> Named:
            layers = make.conv_batchnorm(inputs, channels, kernel_size, elu, bias=True)
            return Named("block", layers)

        self.reduce_conv = conv(inputs, 1)
        self.convs = nnx.List(conv(channels, 3) for _ in range(depth))

    def __call__(self, x: Float[Array, "batch height width inputs"]) -> list[Array]:
        x = self.reduce_conv(x)
        maps = []
        for i, conv in enumerate(self.convs):
            x = x if i == 0 else max_pool(x, 2)
            maps.append(conv(x))
        return maps
