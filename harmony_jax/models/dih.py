"""DIH and iDIH: the convolutional encoder-decoder (paper, section 3.1).

Attribute names follow the released PyTorch modules, so that parameter paths are their keys.
"""

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from harmony_jax.errors import InputError
from harmony_jax.models.blending import Output, blend
from harmony_jax.models.layers import (
    BatchNorm,
    StridedConv,
    StridedConvTranspose,
    elu,
    kernel_init,
)


class DeepImageHarmonization(nnx.Module):
    """Encoder-decoder that sees composite and mask and predicts the harmonized image.

    Args:
        depth: number of stride-2 convolutions; the bottleneck of a 2 ** (depth + 1) image is 1x1.
        batchnorm_from: first encoder block with batch normalisation (the decoder always has it).
        image_fusion: whether to end in the blending layer, which makes DIH an iDIH.
        channels: channels of the first two blocks; they double every second block.
        max_channels: no block has more.
        dtype: compute type of the convolutions; parameters and statistics stay float32.
        rngs: source of the initial kernels.
    """

    def __init__(
        self,
        *,
        depth: int,
        batchnorm_from: int = 0,
        image_fusion: bool = False,
        channels: int = 64,
        max_channels: int = 512,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if depth < 2:
            raise InputError(f"depth {depth}: an encoder-decoder has at least 2 levels")
        self.depth = depth
        self.encoder = ConvEncoder(
            depth, channels, max_channels, batchnorm_from, dtype=dtype, rngs=rngs
        )
        self.decoder = DeconvDecoder(
            self.encoder.block_channels, image_fusion, dtype=dtype, rngs=rngs
        )

    def __call__(
        self,
        image: Float[Array, "batch height width 3"],
        mask: Float[Array, "batch height width 1"],
    ) -> Output:
        """Harmonizes a batch.

        Args:
            image: composite, normalised (`harmony_jax.normalize`).
            mask: foreground, in [0, 1].

        Raises:
            InputError: a side is not a multiple of 2 ** depth, or below 2 ** (depth + 1).
        """
        check_image_size(image.shape[1], image.shape[2], self.depth)
        return self.decoder(self.encoder(jnp.concatenate([image, mask], -1)), image)


def check_image_size(height: int, width: int, depth: int) -> None:
    """Raises InputError unless an encoder-decoder of this depth can take the size in pixels."""
    step = 2**depth
    if height % step or width % step or min(height, width) < 2 * step:
        raise InputError(
            f"image size {height}x{width} (height x width): a network of depth {depth} takes "
            f"multiples of {step}, at least {2 * step}, such as {2 * step}x{3 * step}"
        )


class ConvEncoder(nnx.Module):
    """`depth` convolutions of stride 2; the last has no padding and turns 4x4 into 1x1."""

    def __init__(
        self,
        depth: int,
        channels: int,
        max_channels: int,
        batchnorm_from: int,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.dtype = dtype
        self.block_channels = tuple(
            min(channels * 2 ** (i // 2), max_channels) for i in range(depth)
        )
        inputs = (4, *self.block_channels)
        blocks = [
            ConvBlock(
                inputs[i],
                self.block_channels[i],
                batchnorm=i >= batchnorm_from,
                padding=0 if i == depth - 1 else 1,
                dtype=dtype,
                rngs=rngs,
            )
            for i in range(depth)
        ]
        self.block0, self.block1 = blocks[:2]
        self.blocks_connected = nnx.Dict({f"block{i}": blocks[i] for i in range(2, depth)})

    def __call__(self, x: Float[Array, "batch height width 4"]) -> list[Array]:
        """Returns the output of each block, the highest resolution first."""
        x = x.astype(self.dtype)
        outputs = []
        for block in (self.block0, self.block1, *self.blocks_connected.values()):
            x = block(x)
            outputs.append(x)
        return outputs


class DeconvDecoder(nnx.Module):
    """Transposed convolutions with additive skips, then colours and blend mask by 1x1."""

    def __init__(
        self,
        encoder_channels: tuple[int, ...],
        image_fusion: bool,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.dtype = dtype
        inputs = encoder_channels[::-1]
        outputs = (*inputs[1:], inputs[-1] // 2)
        self.deconv_blocks = nnx.List(
            [
                DeconvBlock(
                    inputs[i], outputs[i], padding=0 if i == 0 else 1, dtype=dtype, rngs=rngs
                )
                for i in range(len(inputs))
            ]
        )
        self.conv_attention = Projection(outputs[-1], 1, rngs=rngs) if image_fusion else None
        self.to_rgb = Projection(outputs[-1], 3, rngs=rngs)

    def __call__(
        self, encoder_outputs: list[Array], image: Float[Array, "batch height width 3"]
    ) -> Output:
        x = encoder_outputs[-1]
        for block, skip in zip(self.deconv_blocks, encoder_outputs[-2::-1], strict=False):
            x = block(x) + skip
        x = self.deconv_blocks[-1](x)
        if self.conv_attention is None:
            return Output(project(x, self.to_rgb, dtype=self.dtype), None)
        projected = project(x, self.to_rgb, self.conv_attention, dtype=self.dtype)
        return blend(image, projected[..., :3], projected[..., 3:])


class ConvBlock(nnx.Module):
    """Strided convolution, optional batch normalisation, ELU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        batchnorm: bool,
        padding: int,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        conv = StridedConv(inputs, outputs, padding=padding, dtype=dtype, rngs=rngs)
        self.block = nnx.List([conv, BatchNorm(outputs, dtype=dtype)] if batchnorm else [conv])

    def __call__(self, x: Array) -> Array:
        for layer in self.block:
            x = layer(x)
        return elu(x)


class DeconvBlock(nnx.Module):
    """Transposed strided convolution, batch normalisation, ELU."""

    def __init__(
        self, inputs: int, outputs: int, *, padding: int, dtype: DTypeLike, rngs: nnx.Rngs
    ):
        conv = StridedConvTranspose(inputs, outputs, padding=padding, dtype=dtype, rngs=rngs)
        self.block = nnx.List([conv, BatchNorm(outputs, dtype=dtype)])

    def __call__(self, y: Array) -> Array:
        for layer in self.block:
            y = layer(y)
        return elu(y)


class Projection(nnx.Module):
    """Kernel and bias of a 1x1 convolution, applied by `project`."""

    def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs):
        self.kernel = nnx.Param(kernel_init(rngs.params(), (1, 1, inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros(outputs))


def project(x: Array, *heads: Projection, dtype: DTypeLike) -> Float[Array, "batch height width k"]:
    """Applies several 1x1 convolutions as one, so that full-resolution `x` is read once.

    Returns:
        Their outputs side by side as channels, in float32.
    """
    kernel = jnp.concatenate([head.kernel[0, 0] for head in heads], -1)
    bias = jnp.concatenate([head.bias[...] for head in heads])
    return jnp.matmul(x, kernel.astype(dtype), preferred_element_type=jnp.float32) + bias
