"""HRNet (Wang et al., 2020) with the OCR head, as a backbone.

Attribute names follow the released PyTorch modules, so that parameter paths are their keys.
"""

from flax import nnx

from harmony_jax.arrays import Image, Mask
from harmony_jax.models.channel_padding import Channels, outputs_padded
from harmony_jax.models.interfaces import Backbone, FeatureMap
from harmony_jax.models.layers import LayerMaker, Sequential, add, concatenate, relu
from harmony_jax.models.materialize import materialize
from harmony_jax.models.ocr import ObjectContext
from harmony_jax.models.residual import BasicBlock, Bottleneck
from harmony_jax.models.resizing import resize

_STEM_CHANNELS = 64


class HRNetBackbone(Backbone):
    """HRNet's feature maps, at strides from 4 on.

    One map at stride 4 by default: the four scales concatenated, and with `ocr_channels` the
    OCR head's output on them. `multiscale` gives the four scales themselves, `pyramid_channels`
    a feature pyramid built on the one map.

    Args:
        width: channels of the finest scale (18, 32).
        small: two blocks in each branch instead of four, and fewer modules ("W18 small v2").
        ocr_channels: key channels of the OCR head, whose output has twice as many; 0: no head.
        multiscale: whether to return HRNet's four scales. The OCR head is then not applied, but
            its weights remain, as in the released models.
        pyramid_channels, pyramid_depth: see `Backbone`.
        dropout: rate in the OCR head, in training.
    """

    def __init__(
        self,
        make: LayerMaker,
        *,
        width: int,
        small: bool,
        ocr_channels: int,
        multiscale: bool,
        pyramid_channels: int,
        pyramid_depth: int,
        dropout: float,
    ):
        self.multiscale = multiscale
        self.hrnet = HighResolutionNet(make, width, small, ocr_channels, dropout)
        scales = self.hrnet.scale_channels
        one_map: tuple[Channels, ...] = (2 * ocr_channels if ocr_channels else scales,)
        super().__init__(
            make,
            scales if multiscale else one_map,
            0 if multiscale else pyramid_channels,
            pyramid_depth,
        )

    def maps(
        self, image: Image, mask: Mask, mask_features: FeatureMap | None, rngs: nnx.Rngs | None
    ) -> list[FeatureMap]:
        """The maps without a pyramid; their channels are padded if HRNet's are."""
        with outputs_padded(self.hrnet.pads_channels):
            scales = self.hrnet.scales(image, mask_features)
            return scales if self.multiscale else [self.hrnet.head(scales, mask, rngs)]


class HighResolutionNet(nnx.Module):
    """The network itself; see `HRNetBackbone` for the arguments."""

    def __init__(
        self, make: LayerMaker, width: int, small: bool, ocr_channels: int, dropout: float
    ):
        blocks = 2 if small else 4
        stage_modules = (1, 3, 2) if small else (1, 4, 3)
        self.dtype, self.pads_channels = make.dtype, False  # see `pad_channels`
        self.scale_channels = tuple(width * 2**i for i in range(4))

        self.conv1 = make.conv(3, _STEM_CHANNELS, 3, stride=2, bias=False)
        self.bn1 = make.batchnorm(_STEM_CHANNELS)
        self.conv2 = make.conv(_STEM_CHANNELS, _STEM_CHANNELS, 3, stride=2, bias=False)
        self.bn2 = make.batchnorm(_STEM_CHANNELS)
        channels = Bottleneck.expansion * _STEM_CHANNELS
        self.layer1 = Sequential(
            Bottleneck(make, _STEM_CHANNELS if i == 0 else channels, _STEM_CHANNELS)
            for i in range(blocks)
        )
        before: tuple[int, ...] = (channels,)
        for stage, modules in enumerate(stage_modules, 2):
            after = self.scale_channels[:stage]
            setattr(self, f"transition{stage - 1}", Transition(make, before, after))
            stage_blocks = [FusionModule(make, after, blocks) for _ in range(modules)]
            setattr(self, f"stage{stage}", nnx.List(stage_blocks))
            before = after
        self.stages = len(stage_modules)

        self.has_ocr = ocr_channels > 0
        if self.has_ocr:
            channels = 2 * ocr_channels
            self.conv3x3_ocr = make.conv_batchnorm(self.scale_channels, channels, 3, bias=True)
            self.ocr_distri_head = ObjectContext(make, channels, ocr_channels, dropout)

    def scales(self, image: Image, mask_features: FeatureMap | None) -> list[FeatureMap]:
        """Feature maps at strides 4, 8, 16 and 32."""
        x = relu(self.bn1(self.conv1(image)))
        if mask_features is not None:
            x = x + mask_features
        x = relu(self.bn2(self.conv2(x)))
        scales = [self.layer1(x)]
        for stage in range(2, 2 + self.stages):
            scales = getattr(self, f"transition{stage - 1}")(scales)
            for module in getattr(self, f"stage{stage}"):
                scales = module(scales)
        return scales

    def head(self, scales: list[FeatureMap], mask: Mask, rngs: nnx.Rngs | None) -> FeatureMap:
        """One map at stride 4: the scales concatenated, and the OCR head on them."""
        size = scales[0].shape[1:3]
        features = concatenate(*(resize(scale, size) for scale in scales))
        if not self.has_ocr:
            return features
        return self.ocr_distri_head(self.conv3x3_ocr(features), mask, rngs)


class Transition(nnx.List):
    """Brings the scales of one stage to the channels and the number of the next."""

    def __init__(self, make: LayerMaker, before: tuple[int, ...], after: tuple[int, ...]):
        layers: list[Sequential | None] = []
        for i, channels in enumerate(after):
            if i >= len(before):
                halved = make.conv_batchnorm(before[-1], channels, 3, stride=2)
                layers.append(Sequential([halved]))
            elif before[i] != channels:
                layers.append(make.conv_batchnorm(before[i], channels, 3))
            else:
                layers.append(None)
        super().__init__(layers)

    def __call__(self, scales: list[FeatureMap]) -> list[FeatureMap]:
        scales = [*scales, scales[-1]][: len(self)]
        return [x if layer is None else layer(x) for layer, x in zip(self, scales, strict=True)]


class FusionModule(nnx.Module):
    """Residual branches, one for each scale, whose results are added to each other."""

    def __init__(self, make: LayerMaker, channels: tuple[int, ...], blocks: int):
        self.branches = nnx.List(
            Sequential(BasicBlock(make, width, width) for _ in range(blocks)) for width in channels
        )
        self.fuse_layers = nnx.List(
            nnx.List(_fuse_layer(make, channels, source, target) for source in range(len(channels)))
            for target in range(len(channels))
        )

    def __call__(self, scales: list[FeatureMap]) -> list[FeatureMap]:
        scales = [branch(x) for branch, x in zip(self.branches, scales, strict=True)]
        fused = []
        for target, layers in enumerate(self.fuse_layers):
            size = scales[target].shape[1:3]
            parts = [
                x if layer is None else resize(layer(x), size)
                for layer, x in zip(layers, scales, strict=True)
            ]
            fused.append(materialize(relu(add(*parts))))
        return fused


def _fuse_layer(
    make: LayerMaker, channels: tuple[int, ...], source: int, target: int
) -> Sequential | None:
    """From one scale to another: 1x1 (then resized) if finer, strided convolutions if coarser."""
    if source == target:
        return None
    if source > target:
        return make.conv_batchnorm(channels[source], channels[target], 1, None)
    steps = target - source
    return Sequential(
        make.conv_batchnorm(
            channels[source],
            channels[target] if last else channels[source],
            3,
            None if last else relu,
            stride=2,
        )
        for last in (i == steps - 1 for i in range(steps))
    )
