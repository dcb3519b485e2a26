"""Makes a backbone foreground-aware and joins it to a base network (paper, sections 3.2, 3.3).

Attribute names follow the released PyTorch modules, so that parameter paths are their keys.
"""

import re

import jax.numpy as jnp
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
from harmony_jax.models.layers import (
    LayerMaker,
    Named,
    Sequential,
    concatenate,
    constants,
    leaky_relu,
)
from harmony_jax.models.resizing import resize

MASK_FUSIONS = ("sum", "rgb", "none")

_STEM_CHANNELS = 64  # of the backbones' first convolution
_INITIAL_SCALE = 0.1  # of the mask's features
_FUSION_CHANNELS = 8  # between the two convolutions of `rgb`

# ImageNet weights exist for HRNet without its OCR head, and for the ResNet inside DeepLab. The
# group is the key that they have there.
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
        base: `DeepImageHarmonization` or `UNetHarmonization`, made for the backbone's features.
        backbone: `HRNetBackbone` or `DeepLabBackbone`.
        mask_fusion: how the backbone gets the mask: `sum` adds a convolution of the mask after the
            backbone's first one, `rgb` mixes it into the image, `none` leaves it out.
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
            self.fusion = _input_fusion(make)

    def __call__(self, image: Image, mask: Mask, *, rngs: nnx.Rngs | None = None) -> Output:
        """Harmonizes a batch; see `HarmonizationModel`."""
        self.check_image_size(image.shape[1], image.shape[2])
        return self.model(image, mask, self.backbone_features(image, mask, rngs=rngs))

    @property
    def size_divisor(self) -> int:
        return self.model.size_divisor

    def check_image_size(self, height: int, width: int) -> None:
        self.model.check_image_size(height, width)

    def backbone_features(
        self, image: Image, mask: Mask, *, rngs: nnx.Rngs | None = None
    ) -> list[FeatureMap]:
        """The backbone's feature maps of a batch, the finest first; arguments as in a call."""
        if self.halve_backbone_input:
            size = (image.shape[1] // 2, image.shape[2] // 2)
            image, mask = resize(image, size), resize(mask, size)
        if self.mask_fusion == "rgb":
            image = self.fusion(concatenate(image, mask))
        mask_features = self.mask_conv(mask) if self.mask_fusion == "sum" else None
        return self.backbone(image, mask, mask_features, rngs)


class LearnedScale(nnx.Module):
    """Multiplies by the absolute value of one learned number."""

    def __init__(self, initial: float):
        self.factor = constants(1, initial)

    def __call__(self, x: Array) -> Array:
        return (widen(x) * jnp.abs(self.factor[...])).astype(x.dtype)


def _input_fusion(make: LayerMaker) -> Named:
    """Mixes the mask into the image by 1x1 convolutions."""
    first, last = make.conv(4, _FUSION_CHANNELS, 1), make.conv(_FUSION_CHANNELS, 3, 1)
    layers = [first, leaky_relu, make.batchnorm(_FUSION_CHANNELS), last]
    return Named("fusion_conv", Sequential(layers))
