"""A feature pyramid by pooling, on one feature map (HRNetV2p; paper, section 3.3)."""

from flax import nnx
from jaxtyping import Array, Float

from harmony_jax.models.channel_padding import Channels
from harmony_jax.models.layers import LayerMaker, elu, max_pool


class FeaturePyramid(nnx.Module):
    """Maps of equal width, each at half the resolution of the one before.

    Args:
        make: layer maker.
        inputs: channels of the map that it is built on.
        channels: of each map.
        depth: number of maps; the first has the input's resolution.
    """

    def __init__(self, make: LayerMaker, inputs: Channels, channels: int, depth: int):
        self.reduce_conv = ConvNormELU(make, inputs, channels, 1)
        self.convs = nnx.List(ConvNormELU(make, channels, channels, 3) for _ in range(depth))

    def __call__(self, x: Float[Array, "batch height width inputs"]) -> list[Array]:
        x = self.reduce_conv(x)
        maps = []
        for i, conv in enumerate(self.convs):
            x = x if i == 0 else max_pool(x, 2)
            maps.append(conv(x))
        return maps


class ConvNormELU(nnx.Module):
    """Convolution, batch normalisation, ELU."""

    def __init__(self, make: LayerMaker, inputs: Channels, outputs: int, kernel_size: int):
        self.block = make.conv_batchnorm(inputs, outputs, kernel_size, elu, bias=True)

    def __call__(self, x: Array) -> Array:
        return self.block(x)
