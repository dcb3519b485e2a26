"""What every model, base network and backbone offers, so that any can be joined with any."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from flax import nnx
from jaxtyping import Array, Float

from harmony_jax.arrays import Image, Mask
from harmony_jax.errors import InputError
from harmony_jax.models.channel_padding import Channels
from harmony_jax.models.feature_pyramid import FeaturePyramid
from harmony_jax.models.layers import LayerMaker, concatenate

FeatureMap = Float[Array, "batch _height _width _features"]  # of any resolution


class Output(NamedTuple):
    """A model's answer.

    Attributes:
        image: harmonized image, normalised as the input.
        blend_mask: the paper's M_A in [0, 1], 1 where the output is the predicted colour and 0
            where it is the input; None for models without a blending layer.
    """

    image: Image
    blend_mask: Mask | None


class HarmonizationModel(nnx.Module):
    """Harmonizes composites; what `create_model` returns."""

    def __call__(self, image: Image, mask: Mask, *, rngs: nnx.Rngs | None = None) -> Output:
        """Harmonizes a batch.

        Args:
            image: composite, normalised (`harmony_jax.normalize`).
            mask: foreground, in [0, 1].
            rngs: source of dropout masks (stream `dropout`), needed in training mode by models
                with dropout.

        Raises:
            InputError: the network cannot take the image's size.
        """
        raise NotImplementedError

    def check_image_size(self, height: int, width: int) -> None:
        """Raises InputError unless the network can take the size in pixels."""
        raise NotImplementedError

    @property
    def size_divisor(self) -> int:
        """Pictures of any size are padded to multiples of it, as in the released prediction."""
        raise NotImplementedError


class BaseNetwork(HarmonizationModel):
    """An encoder-decoder, which a backbone's feature maps may be passed to.

    Attributes:
        depth: number of encoder blocks.
        size_step: pixels; height and width are multiples of it.
        least_size: of height and width, in pixels.
        encoder: from image with mask, and feature maps, to the outputs of its blocks.
        decoder: from these, image, mask and feature maps to `Output`.
    """

    depth: int
    size_step: int
    least_size: int
    encoder: Callable[..., list[Array]]
    decoder: Callable[..., Output]

    def __call__(
        self,
        image: Image,
        mask: Mask,
        features: Sequence[FeatureMap] = (),
        *,
        rngs: nnx.Rngs | None = None,
    ) -> Output:
        """Harmonizes a batch, as `HarmonizationModel`; the finest of `features` comes first.

        There is no dropout.
        """
        self.check_image_size(image.shape[1], image.shape[2])
        blocks = self.encoder(concatenate(image, mask), features)
        return self.decoder(blocks, image, mask, features)

    def check_image_size(self, height: int, width: int) -> None:
        step, least = self.size_step, self.least_size
        if height % step or width % step or min(height, width) < least:
            raise InputError(
                f"image size {height}x{width} (height x width): a network of depth {self.depth} "
                f"takes multiples of {step}, at least {least}"
            )

    @property
    def size_divisor(self) -> int:
        return 2 ** (self.depth + 1)


class Backbone(nnx.Module):
    """Computes feature maps for a base network: one, several, or a pyramid built on one.

    Args:
        channels: of each map, or of each array side by side in it.
        pyramid_channels: of each map of the feature pyramid; 0: no pyramid.
        pyramid_depth: number of the pyramid's maps.

    Attributes:
        output_channels: of what a call returns, as `channels`.
    """

    def __init__(
        self,
        make: LayerMaker,
        channels: tuple[Channels, ...],
        pyramid_channels: int,
        pyramid_depth: int,
    ):
        self.output_channels = channels
        self.has_pyramid = pyramid_channels > 0
        if self.has_pyramid:
            self.downsize = FeaturePyramid(make, channels[0], pyramid_channels, pyramid_depth)
            self.output_channels = (pyramid_channels,) * pyramid_depth

    def __call__(
        self, image: Image, mask: Mask, mask_features: FeatureMap | None, rngs: nnx.Rngs | None
    ) -> list[FeatureMap]:
        """Computes the feature maps, the finest first.

        The finest has stride 4, each other half the resolution of the one before.

        Args:
            image: normalised.
            mask: foreground, in [0, 1]; only HRNet's OCR head looks at it.
            mask_features: added after the first convolution, at stride 2.
            rngs: for dropout.
        """
        maps = self.maps(image, mask, mask_features, rngs)
        return self.downsize(maps[0]) if self.has_pyramid else maps

    def maps(
        self, image: Image, mask: Mask, mask_features: FeatureMap | None, rngs: nnx.Rngs | None
    ) -> list[FeatureMap]:
        """The maps without a pyramid; see `__call__`."""
        raise NotImplementedError
