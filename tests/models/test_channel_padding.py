"""Padded channels: the same results and gradients, and no convolution of odd channels."""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from harmony_jax import create_model
from harmony_jax.models.channel_padding import outputs_padded, pad_channels
from harmony_jax.models.feature_fusion import FeatureConnector
from harmony_jax.models.hrnet import FusionModule, Transition
from harmony_jax.models.layers import ConvTranspose, LayerMaker, concatenate
from harmony_jax.models.ocr import ObjectContext
from harmony_jax.models.resizing import resize
from tests.models.platforms import forms_of


class Network(nnx.Module):
    """All that padded channels pass through, of 6 and 12 channels where HRNet has 18 and 36."""

    def __init__(self) -> None:
        make = LayerMaker(nnx.Rngs(0))
        self.pads_channels = False
        self.transition = Transition(make, (4,), (6, 12))
        self.fusion = FusionModule(make, (6, 12), 1)
        self.head = make.conv_batchnorm((6, 12), 10, 3, bias=True)
        self.context = ObjectContext(make, 10, 5, 0.0)
        self.connector = FeatureConnector(make, "cat", 5, (10,))
        self.out = ConvTranspose(make, self.connector.output_channels, 3, 1)

    def __call__(self, x, y, mask):
        with outputs_padded(self.pads_channels):
            scales = self.fusion(self.transition([x]))
            features = self.head(concatenate(*(resize(s, scales[0].shape[1:3]) for s in scales)))
            features = self.context(features, mask, None)
        return self.out(self.connector(y, features)), features


def test_results_gradients_and_statistics_are_those_without():
    network = Network()
    rng = np.random.default_rng(0)
    shapes = (2, 8, 8, 4), (2, 8, 8, 5), (2, 8, 8, 1)
    x, y, mask = (jnp.asarray(rng.random(shape), jnp.float32) for shape in shapes)
    target = jnp.asarray(rng.standard_normal((2, 16, 16, 3)), jnp.float32)

    def run(pads):
        network.pads_channels = pads
        graph, params, rest = nnx.split(network, nnx.Param, ...)

        def loss(params, x, y):
            model = nnx.merge(graph, params, rest, copy=True)
            out, features = model(x, y, mask)
            kept = out, nnx.state(model, nnx.BatchStat), features[..., :10]
            return (out * target).mean(), (kept, features[..., 10:])

        return jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))(params, x, y)

    ((_, (expected, _)), gradients), ((_, (found, padding)), found_gradients) = (
        run(False),
        run(True),
    )
    assert padding.shape[-1] == 6
    assert not padding.any()
    for one, other in zip(
        jax.tree.leaves((found, found_gradients)),
        jax.tree.leaves((expected, gradients)),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=5e-5)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("hrnet18s_multiscale_idih256", {"fuse_into": "both", "channels": 12}),
        ("hrnet18s_no_ocr_idih256", {"fuse_into": "both", "fuse_mode": "catc", "channels": 12}),
        ("hrnet18s_no_ocr_idih256", {"pyramid_channels": 20, "fuse_mode": "sum"}),
        ("hrnet18s_issam256", {"ocr_channels": 10, "channels": 4}),
    ],
)
def test_padded_backbones_fit_any_base(name, arguments):
    model = nnx.eval_shape(lambda: create_model(name, rngs=nnx.Rngs(0), **arguments))
    model.eval()
    model.set_attributes(pads_channels=True)
    image, mask = (jax.ShapeDtypeStruct((1, 256, 256, n), jnp.float32) for n in (3, 1))
    with forms_of("cuda"):
        output = nnx.eval_shape(lambda *inputs: inputs[0](*inputs[1:]), model, image, mask)
    assert output.image.shape == image.shape


def test_who_pads():
    def padding(dtype, platform):
        model = nnx.eval_shape(
            lambda: create_model("hrnet18s_idih256", rngs=nnx.Rngs(0), dtype=dtype)
        )
        pad_channels(model, platform)
        return model.backbone.hrnet.pads_channels

    assert padding(jnp.bfloat16, "gpu")
    assert not padding(jnp.float32, "gpu")
    assert not padding(jnp.bfloat16, "cpu")
    assert not padding(jnp.bfloat16, "tpu")


def test_no_convolution_has_odd_channels():
    """Except those of the images, 4 and 5 channels here: cuDNN would pad them, each by itself."""
    network = Network()
    network.pads_channels = True
    found = set()
    convolution = lax.conv_general_dilated

    def recorded(x, kernel, *arguments, **options):
        found.update((x.shape[-1], kernel.shape[-1]))  # of images and of kernels
        return convolution(x, kernel, *arguments, **options)

    def loss(network, x, y, mask):
        return network(x, y, mask)[0].sum()

    shapes = (2, 8, 8, 4), (2, 8, 8, 5), (2, 8, 8, 1)
    inputs = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)
    with mock.patch.object(lax, "conv_general_dilated", recorded), forms_of("cuda"):
        nnx.eval_shape(nnx.grad(loss), network, *inputs)
    assert {channels for channels in found if channels % 8} == {3, 4}
    assert {8, 16, 24} <= found
