"""Residual blocks (He et al., 2016), shared by HRNet and ResNet."""

from flax import nnx
from jaxtyping import Array, Float

from harmony_jax.models.layers import LayerMaker, Sequential, relu
from harmony_jax.models.materialize import materialize


class BasicBlock(nnx.Module):
    """Two 3x3 convolutions around a shortcut.

    Args:
        inputs: channels.
        outputs: channels.
        stride: of the first convolution and the shortcut.
        dilations: of the two convolutions.
    """

    def __init__(
        self,
        make: LayerMaker,
        inputs: int,
        outputs: int,
        *,
        stride: int = 1,
        dilations: tuple[int, int] = (1, 1),
    ):
        first, second = dilations
        self.conv1 = make.conv(inputs, outputs, 3, stride=stride, dilation=first, bias=False)
        self.bn1 = make.batchnorm(outputs)
        self.conv2 = make.conv(outputs, outputs, 3, dilation=second, bias=False)
        self.bn2 = make.batchnorm(outputs)
        self.downsample = _shortcut(make, inputs, outputs, stride)

    def __call__(self, x: Float[Array, "batch height width inputs"]) -> Array:
        y = relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y = relu(y + (x if self.downsample is None else self.downsample(x)))
        return materialize(y)


class Bottleneck(nnx.Module):
    """1x1, 3x3 and 1x1 convolution around a shortcut; the output has 4 times the `middle`."""

    expansion = 4

    def __init__(self, make: LayerMaker, inputs: int, middle: int):
        outputs = self.expansion * middle
        self.conv1 = make.conv(inputs, middle, 1, bias=False)
        self.bn1 = make.batchnorm(middle)
        self.conv2 = make.conv(middle, middle, 3, bias=False)
        self.bn2 = make.batchnorm(middle)
        self.conv3 = make.conv(middle, outputs, 1, bias=False)
        self.bn3 = make.batchnorm(outputs)
        self.downsample = _shortcut(make, inputs, outputs, 1)

    def __call__(self, x: Float[Array, "batch height width inputs"]) -> Array:
        y = relu(self.bn1(self.conv1(x)))
        y = relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y = relu(y + (x if self.downsample is None else self.downsample(x)))
        return materialize(y)


def _shortcut(make: LayerMaker, inputs: int, outputs: int, stride: int) -> Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return make.conv_batchnorm(inputs, outputs, 1, None, stride=stride)
