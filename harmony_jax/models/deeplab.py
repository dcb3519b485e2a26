"""DeepLabV3+ (Chen et al., 2018) on a dilated ResNet-34, as a backbone.

Attribute names follow the released PyTorch modules, so that parameter paths are their keys.
"""

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array

from harmony_jax.arrays import Image, Mask
from harmony_jax.models.feature_pyramid import FeaturePyramid
from harmony_jax.models.interfaces import Backbone, FeatureMap
from harmony_jax.models.layers import (
    DepthwiseConv,
    LayerMaker,
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
        make: layer maker.
        deeplab_channels: of the map.
        pyramid_channels: of each map of the feature pyramid; 0: no pyramid.
        pyramid_depth: number of the pyramid's maps.
        dropout: rate behind the spatial pyramid pooling, in training.
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
        self.output_channels = (deeplab_channels,)
        self.has_pyramid = pyramid_channels > 0
        if self.has_pyramid:
            self.downsize = FeaturePyramid(make, deeplab_channels, pyramid_channels, pyramid_depth)
            self.output_channels = (pyramid_channels,) * pyramid_depth

    def __call__(
        self,
        image: Image,
        mask: Mask,
        mask_features: FeatureMap | None,
        rngs: nnx.Rngs | None,
    ) -> list[FeatureMap]:
        """Computes the feature maps, the finest first; see `Backbone`."""
        features = self.deeplab(image, mask_features, rngs)
        return self.downsize(features) if self.has_pyramid else [features]


class DeepLabV3Plus(nnx.Module):
    """Encoder, atrous spatial pyramid pooling, and a decoder with one skip."""

    def __init__(self, make: LayerMaker, channels: int, dropout: float):
        self.backbone = ResNet34(make)
        self.head = Head(make, channels + _SKIP_CHANNELS, channels)
        self.skip_project = SkipProject(make, self.backbone.skip_channels)
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


class SkipProject(nnx.Module):
    """1x1 convolution of the skip."""

    def __init__(self, make: LayerMaker, inputs: int):
        self.skip_project = make.conv_batchnorm(inputs, _SKIP_CHANNELS, 1)

    def __call__(self, x: FeatureMap) -> FeatureMap:
        return self.skip_project(x)


class Head(nnx.Module):
    """Two separable convolutions and a 1x1 convolution."""

    def __init__(self, make: LayerMaker, inputs: int, outputs: int):
        self.block = Sequential(
            [
                SeparableConv(make, inputs, outputs),
                SeparableConv(make, outputs, outputs),
                make.conv(outputs, outputs, 1),
            ]
        )

    def __call__(self, x: FeatureMap) -> FeatureMap:
        return self.block(x)


class SeparableConv(nnx.Module):
    """Depthwise and pointwise convolution, batch normalisation, ReLU."""

    def __init__(self, make: LayerMaker, inputs: int, outputs: int):
        pointwise = make.conv_batchnorm(inputs, outputs, 1)
        self.body = Sequential([DepthwiseConv(make, inputs), *pointwise])

    def __call__(self, x: FeatureMap) -> FeatureMap:
        return self.body(x)


def _stage(
    make: LayerMaker, inputs: int, outputs: int, blocks: int, stride: int = 1, dilation: int = 1
) -> Sequential:
    # The first convolution of a dilated stage still has the dilation of the stage before.
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
    """For maps of even sides, without a padding; converters have their limits there."""
    for axis in (1, 2):
        even, odd = (lax.slice_in_dim(x, start, None, 2, axis) for start in (0, 1))
        first = lax.slice_in_dim(even, 0, 1, axis=axis)  # is in the first window already
        before = jnp.concatenate([first, lax.slice_in_dim(odd, 0, -1, axis=axis)], axis)
        x = jnp.maximum(jnp.maximum(before, even), odd)
    return x
