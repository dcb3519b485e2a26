"""DeepLabV3+ (Chen et al., 2018) on a dilated ResNet-34, as a backbone.

Attribute names follow the released PyTorch modules, so that parameter paths are their keys.
"""

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array

from harmony_jax.arrays import Image, Mask
from harmony_jax.models.interfaces import Backbone, FeatureMap
from harmony_jax.models.layers import (
    DepthwiseConv,
    LayerMaker,
    Named,
    Sequential,
    apply_dropout,
    concatenate,
    relu,
)
from harmony_jax.models.platform_forms import by_platform
from harmony_jax.models.residual import BasicBlock
from harmony_jax.models.resizing import resize

_ATROUS_RATES = (12, 24, 36)
_SKIP_CHANNELS = 32


class DeepLabBackbone(Backbone):
    """DeepLabV3+'s feature map at stride 4, or a feature pyramid on it.

    Args:
        deeplab_channels: of the map.
        pyramid_channels, pyramid_depth: see `Backbone`.
        dropout: rate after the spatial pyramid pooling, in training.
    """

    def __init__(
        self,
        make: LayerMaker,
        *,
        deeplab_channels: int,
        pyramid_channels: int,
        pyramid_depth: int,
        dropout: float,
    ):
        self.deeplab = DeepLabV3Plus(make, deeplab_channels, dropout)
        super().__init__(make, (deeplab_channels,), pyramid_channels, pyramid_depth)

    def maps(
        self, image: Image, mask: Mask, mask_features: FeatureMap | None, rngs: nnx.Rngs | None
    ) -> list[FeatureMap]:
        return [self.deeplab(image, mask_features, rngs)]


class DeepLabV3Plus(nnx.Module):
    """Encoder, atrous spatial pyramid pooling, and a decoder with one skip."""

    def __init__(self, make: LayerMaker, channels: int, dropout: float):
        self.backbone = ResNet34(make)
        self.head = _head(make, channels + _SKIP_CHANNELS, channels)
        skip = make.conv_batchnorm(self.backbone.skip_channels, _SKIP_CHANNELS, 1)
        self.skip_project = Named("skip_project", skip)
        self.aspp = SpatialPyramidPooling(make, self.backbone.output_channels, channels, dropout)

    def __call__(
        self, image: Array, mask_features: FeatureMap | None, rngs: nnx.Rngs | None
    ) -> FeatureMap:
        skip, x = self.backbone(image, mask_features)
        skip = self.skip_project(skip)
        x = resize(self.aspp(x, rngs), skip.shape[1:3])
        return self.head(concatenate(x, skip))


class ResNet34(nnx.Module):
    """ResNet-34 whose last two stages are dilated instead of strided (gluon's "v1b")."""

    skip_channels = 64
    output_channels = 512

    def __init__(self, make: LayerMaker):
        self.conv1 = make.conv(3, 64, 7, stride=2, bias=False)
        self.bn1 = make.batchnorm(64)
        self.layer1 = _stage(make, 64, 64, 3)
        self.layer2 = _stage(make, 64, 128, 4, stride=2)
        self.layer3 = _stage(make, 128, 256, 6, dilation=2)
        self.layer4 = _stage(make, 256, 512, 3, dilation=4)

    def __call__(
        self, image: Array, mask_features: FeatureMap | None
    ) -> tuple[FeatureMap, FeatureMap]:
        """Features at stride 4 and 8."""
        x = relu(self.bn1(self.conv1(image)))
        if mask_features is not None:
            x = x + mask_features
        skip = self.layer1(_overlapping_max_pool(x))
        return skip, self.layer4(self.layer3(self.layer2(skip)))


class SpatialPyramidPooling(nnx.Module):
    """Dilated convolutions of several rates and the mean of the image, side by side (ASPP)."""

    def __init__(self, make: LayerMaker, inputs: int, outputs: int, dropout: float):
        self.concurent = nnx.List(  # the released spelling
            [
                make.conv_batchnorm(inputs, outputs, 1),
                *(make.conv_batchnorm(inputs, outputs, 3, dilation=r) for r in _ATROUS_RATES),
                ImagePooling(make, inputs, outputs),
            ]
        )
        self.project = make.conv_batchnorm(5 * outputs, outputs, 1)
        self.dropout = nnx.Dropout(dropout)

    def __call__(self, x: FeatureMap, rngs: nnx.Rngs | None) -> FeatureMap:
        x = concatenate(*(branch(x) for branch in self.concurent))
        x = self.project(x)
        return apply_dropout(self.dropout, x, rngs)


class ImagePooling(nnx.Module):
    """The mean over the image, projected and spread over it again."""

    def __init__(self, make: LayerMaker, inputs: int, outputs: int):
        self.gap = Sequential([_image_mean, *make.conv_batchnorm(inputs, outputs, 1)])

    def __call__(self, x: FeatureMap) -> FeatureMap:
        pooled = self.gap(x)
        return jnp.broadcast_to(pooled, (*x.shape[:3], pooled.shape[-1]))


def _head(make: LayerMaker, inputs: int, outputs: int) -> Named:
    """Two separable convolutions and a 1x1 convolution."""
    separable = [_separable_conv(make, inputs, outputs), _separable_conv(make, outputs, outputs)]
    return Named("block", Sequential([*separable, make.conv(outputs, outputs, 1)]))


def _separable_conv(make: LayerMaker, inputs: int, outputs: int) -> Named:
    """Depthwise and pointwise convolution, batch normalisation, ReLU."""
    pointwise = make.conv_batchnorm(inputs, outputs, 1)
    return Named("body", Sequential([DepthwiseConv(make, inputs), *pointwise]))


def _stage(
    make: LayerMaker, inputs: int, outputs: int, blocks: int, stride: int = 1, dilation: int = 1
) -> Sequential:
    # The first convolution of a dilated stage has the dilation of the stage before.
    first = (max(dilation // 2, 1), dilation)
    return Sequential(
        BasicBlock(
            make,
            inputs if i == 0 else outputs,
            outputs,
            stride=stride if i == 0 else 1,
            dilations=first if i == 0 else (dilation, dilation),
        )
        for i in range(blocks)
    )


def _image_mean(x: FeatureMap) -> FeatureMap:
    return x.mean((1, 2), keepdims=True)


def _overlapping_max_pool(x: FeatureMap) -> FeatureMap:
    """3x3 windows of stride 2, padded by one."""
    return by_platform(x, cpu=_by_windows, default=_by_windows, portable=_by_strides)


def _by_windows(x: FeatureMap) -> FeatureMap:
    return nnx.max_pool(x, window_shape=(3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))


def _by_strides(x: FeatureMap) -> FeatureMap:
    """The same without padding, which converters support only in part; for even sides."""
    for axis in (1, 2):
        even, odd = (lax.slice_in_dim(x, start, None, 2, axis) for start in (0, 1))
        first = lax.slice_in_dim(even, 0, 1, axis=axis)  # repeats what its window has already
        before = jnp.concatenate([first, lax.slice_in_dim(odd, 0, -1, axis=axis)], axis)
        x = jnp.maximum(jnp.maximum(before, even), odd)
    return x
