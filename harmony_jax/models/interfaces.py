"""What every model, base network and backbone offers, so that any can be joined with any."""

from collections.abc import Sequence
from typing import NamedTuple

from flax import nnx
from jaxtyping import Array, Float

from harmony_jax.arrays import Image, Mask
from harmony_jax.models.channel_padding import Channels

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
    """A model that a backbone's feature maps may be passed to."""

    def __call__(
        self,
        image: Image,
        mask: Mask,
        features: Sequence[FeatureMap] = (),
        *,
        rngs: nnx.Rngs | None = None,
    ) -> Output:
        """Harmonizes a batch, as `HarmonizationModel`; `features` come the finest first."""
        raise NotImplementedError


class Backbone(nnx.Module):
    """Computes feature maps for a base network.

    Attributes:
        output_channels: of each map, or of each array that lies there side by side.
    """

    output_channels: tuple[Channels, ...]

    def __call__(
        self,
        image: Image,
        mask: Mask,
        mask_features: FeatureMap | None,
        rngs: nnx.Rngs | None,
    ) -> list[FeatureMap]:
        """Computes the feature maps, the finest first.

        The finest has stride 4, each other half the resolution of the one before.

        Args:
            image: normalised.
            mask: foreground, in [0, 1]; only HRNet's OCR head looks at it.
            mask_features: added behind the first convolution, at stride 2.
            rngs: for dropout.
        """
        raise NotImplementedError
