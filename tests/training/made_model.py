"""A model whose step compiles in a second: two equal parts, one of them named as pre-trained."""

from flax import nnx

from harmony_jax.models import HarmonizationModel, Output
from harmony_jax.models.channel_padding import outputs_padded
from harmony_jax.models.layers import LayerMaker


class MadeModel(HarmonizationModel):
    """Adds to the image what each part makes of it; with equal weights both learn the same."""

    def __init__(self, dropout: float = 0.0):
        self.backbone = nnx.Dict({"hrnet": _Part(dropout)})
        self.model = _Part(dropout)

    def __call__(self, image, mask, *, rngs=None):
        return Output(image + self.backbone.hrnet(image, rngs) + self.model(image, rngs), None)

    def check_image_size(self, height, width):
        pass

    @property
    def size_divisor(self):
        return 1


class _Part(nnx.Module):
    def __init__(self, dropout: float):
        make = LayerMaker(nnx.Rngs(0))
        self.dtype, self.pads_channels = make.dtype, False
        self.conv = make.conv(3, 4, 1)
        self.norm = make.batchnorm(4)
        self.out = make.conv(4, 3, 1)
        self.dropout = nnx.Dropout(dropout)

    def __call__(self, x, rngs):
        with outputs_padded(self.pads_channels):
            x = self.norm(self.conv(x))
        x = self.out(x)
        return x if self.dropout.deterministic else self.dropout(x, rngs=rngs)
