"""Makes a backbone foreground-aware and joins it to a base network (paper, sections 3.2, 3.3).

Attribute names follow the released PyTorch modules, so that parameter paths are their keys.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from harmony_jax.arrays import Image, Mask
from harmony_jax.errors import InputError
from harmony_jax.models.arithmetic import widen
from harmony_jax.models.interfaces import (
    Backbone,
    BaseNetwork,
    FeatureMap,
    HarmonizationModel,
    Output,
)
from harmony_jax.models.layers import LayerMaker, Sequential, concatenate, leaky_relu
from harmony_jax.models.resizing import resize

MASK_FUSIONS = ("sum", "rgb", "none")

_STEM_CHANNELS = 64  # of the backbones' first convolution
_INITIAL_SCALE = 0.1  # of the mask's features

# HRNet without its OCR head, and the ResNet inside DeepLab: what ImageNet weights exist for. The
# group is the name that they have there.
_PRETRAINED = re.compile(r"backbone\.(?:hrnet\.(?!conv3x3_ocr\.|ocr_)|deeplab\.backbone\.)(.+)")


def is_pretrained(path: str) -> bool:
    """Whether a variable starts from ImageNet weights, and learns at a lower rate.

    Args:
        path: names from the model's root on, joined by dots, as in a PyTorch key.
    """
    return imagenet_key(path) is not None


def imagenet_key(key: str) -> str | None:
    """A variable's PyTorch key in an ImageNet classifier; None if it does not start from one.

    Args:
        key: its key in the whole model.
    """
    match = _PRETRAINED.match(key)
    return match and match[1]


class ForegroundAware(HarmonizationModel):
    """A base network that takes the feature maps of a backbone which sees the mask.

    Args:
        make: layer maker.
        base: `DeepImageHarmonization` or `UNetHarmonization`, made for the backbone's features.
        backbone: `HRNetBackbone` or `DeepLabBackbone`.
        mask_fusion: how the backbone gets the mask: `sum` adds its convolution behind the
            backbone's first, `rgb` mixes it into the image, `none` leaves the backbone unaware.
        halve_backbone_input: whether the backbone sees image and mask at half the size.
    """

    def __init__(
        self,
        make: LayerMaker,
        base: BaseNetwork,
        backbone: Backbone,
        *,
        mask_fusion: str,
        halve_backbone_input: bool,
    ):
        if mask_fusion not in MASK_FUSIONS:
            raise InputError(f"mask_fusion {mask_fusion!r}: choose {', '.join(MASK_FUSIONS)}")
        self.halve_backbone_input = halve_backbone_input
        self.backbone = backbone
        self.model = base
        self.mask_fusion = mask_fusion
        if mask_fusion == "sum":
            conv = make.conv(1, _STEM_CHANNELS, 3, stride=2)
            self.mask_conv = Sequential([conv, LearnedScale(_INITIAL_SCALE)])
        elif mask_fusion == "rgb":
            self.fusion = InputFusion(make)

    def __call__(self, image: Image, mask: Mask, *, rngs: nnx.Rngs | None = None) -> Output:
        """Harmonizes a batch; see `HarmonizationModel`."""
        self.check_image_size(image.shape[1], image.shape[2])
        return self.model(image, mask, self.backbone_features(image, mask, rngs=rngs))

    @property
    def size_divisor(self) -> int:
        """Pictures of any size are padded to multiples of it."""
        return self.model.size_divisor

    def check_image_size(self, height: int, width: int) -> None:
        """Raises InputError unless the network can take the size in pixels."""
        self.model.check_image_size(height, width)

    def backbone_features(
        self, image: Image, mask: Mask, *, rngs: nnx.Rngs | None = None
    ) -> list[FeatureMap]:
        """The backbone's feature maps of a batch, the finest first; arguments as in a call."""
        if self.halve_backbone_input:
            size = (image.shape[1] // 2, image.shape[2] // 2)
            image, mask = resize(image, size), resize(mask, size)
        if self.mask_fusion == "rgb":
            image = self.fusion(image, mask)
        mask_features = self.mask_conv(mask) if self.mask_fusion == "sum" else None
        return self.backbone(image, mask, mask_features, rngs)


class InputFusion(nnx.Module):
    """Mixes the mask into the image by 1x1 convolutions."""

    features = 8

    def __init__(self, make: LayerMaker):
        self.fusion_conv = Sequential(
            [
                make.conv(4, self.features, 1),
                leaky_relu,
                make.batchnorm(self.features),
                make.conv(self.features, 3, 1),
            ]
        )

    def __call__(self, image: Array, mask: Array) -> Array:
        return self.fusion_conv(concatenate(image, mask))


class LearnedScale(nnx.Module):
    """Multiplies by the absolute value of one learned number."""

    def __init__(self, initial: float):
        self.factor = nnx.Param(jax.device_put(np.full(1, initial, np.float32)))

    def __call__(self, x: Array) -> Array:
        return (widen(x) * jnp.abs(self.factor[...])).astype(x.dtype)
