"""How backbones and base networks are joined, on small networks."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from harmony_jax import InputError, Output, create_model
from harmony_jax.models import HarmonizationModel, is_pretrained
from tests.models.piecewise import compiled_in_parts

SMALL = {"depth": 4, "channels": 8, "max_channels": 16, "dropout": 0.0}
SMALL_BACKBONES = {
    "hrnet18s": {"width": 4, "ocr_channels": 8},
    "deeplab_r34": {"deeplab_channels": 16},
}
SIDE = 32
INTO = {"encoder": (True, False), "decoder": (False, True), "both": (True, True)}


@pytest.fixture(autouse=True)
def compiled_parts() -> Iterator[None]:
    """HRNet's parts are compiled once for all tests."""
    with compiled_in_parts():
        yield


def abstract_model(base: str, backbone: str, **overrides: Any) -> HarmonizationModel:
    arguments = {**SMALL, **SMALL_BACKBONES[backbone], **overrides}
    if "ssam" in base:
        arguments["attend_from"] = 1
    return nnx.eval_shape(
        lambda: create_model(base, rngs=nnx.Rngs(0), backbone=backbone, **arguments)
    )


def make_inputs() -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.standard_normal((2, SIDE, SIDE, 3)), jnp.float32)
    return image, jnp.zeros((2, SIDE, SIDE, 1)).at[:, 4:14, 4:20].set(1.0)


def fill(model: HarmonizationModel) -> HarmonizationModel:
    """Gives an abstract model reproducible values, and sets it to evaluation."""
    rng = np.random.default_rng(1)
    for path, variable in nnx.to_flat_state(nnx.state(model)):
        value = 0.1 * rng.standard_normal(variable.shape)
        value = np.abs(value) + 0.5 if path[-1] in ("var", "scale") else value
        variable.set_value(jnp.asarray(value, variable.dtype))
    model.eval()
    return model


BASES = ("improved_dih256", "ssam256", "improved_sedih256")


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("into", INTO)
def test_any_base_takes_features_anywhere(base, into):
    model = abstract_model(base, "deeplab_r34", fuse_into=into).model
    found = ["connector2" in part.connectors for part in (model.encoder, model.decoder)]
    assert found == list(INTO[into])  # level 2: stride 4
    features = [jnp.zeros((2, SIDE // 4, SIDE // 4, 16))]
    output = nnx.eval_shape(lambda m, i, k: m(i, k, features).image, model, *make_inputs())
    assert output.shape == (2, SIDE, SIDE, 3)


@pytest.mark.parametrize("into", INTO)
def test_a_pyramid_enters_at_its_resolutions(into):
    model = abstract_model("improved_dih256", "hrnet18s", fuse_into=into, pyramid_channels=8)
    levels = {"connector2", "connector3"}  # min(depth - 2, 4) maps
    for part, takes in zip((model.model.encoder, model.model.decoder), INTO[into], strict=True):
        assert set(part.connectors) == (levels if takes else set())
    model = fill(model)
    image, mask = make_inputs()
    maps = model.backbone_features(image, mask)
    assert [features.shape for features in maps] == [(2, 8, 8, 8), (2, 4, 4, 8)]
    before = model.model(image, mask, maps).image
    for i in range(2):
        changed = [features + (i == j) for j, features in enumerate(maps)]
        assert jnp.abs(model.model(image, mask, changed).image - before).max() > 1e-4


@pytest.mark.parametrize("mode", ["cat", "catc", "sum"])
@pytest.mark.parametrize("into", INTO)
def test_the_output_depends_on_the_features_where_they_enter(into, mode):
    """Zeroing what reads them, in encoder or decoder, changes the output if it is in use."""
    model = fill(abstract_model("improved_dih256", "deeplab_r34", fuse_into=into, fuse_mode=mode))
    image, mask = make_inputs()
    maps = [jnp.ones((2, SIDE // 4, SIDE // 4, 16))]

    def run(maps):
        return model.model(image, mask, maps).image

    before = run(maps)
    assert jnp.abs(before - run([features + 1 for features in maps])).max() > 1e-4
    for part, takes in zip((model.model.encoder, model.model.decoder), INTO[into], strict=True):
        assert bool(part.connectors) == takes
        if takes and mode != "cat":
            part.connectors["connector2"].reduce_conv.kernel[...] *= 0.5
            assert jnp.abs(before - run(maps)).max() > 1e-5
            before = run(maps)


def test_choices_give_different_outputs():
    outputs = [
        fill(abstract_model("improved_dih256", "hrnet18s", **choice))(*make_inputs()).image
        for choice in (
            {},
            {"fuse_into": "decoder"},
            {"fuse_into": "both"},
            {"fuse_mode": "sum"},
            {"mask_fusion": "rgb"},
            {"mask_fusion": "none"},
            {"multiscale": True},
            {"ocr_channels": 0},
        )
    ]
    for i, one in enumerate(outputs):
        for other in outputs[:i]:
            assert jnp.abs(one - other).max() > 1e-4


@pytest.mark.parametrize(
    ("fusion", "aware"), [("sum", True), ("rgb", True), ("none", False)], ids=str
)
def test_the_backbone_sees_the_mask_unless_it_is_left_out(fusion, aware):
    model = fill(abstract_model("improved_dih256", "hrnet18s", mask_fusion=fusion, ocr_channels=0))
    image, mask = make_inputs()
    one, other = (model.backbone_features(image, m)[0] for m in (mask, 1 - mask))
    assert (float(jnp.abs(one - other).max()) > 1e-4) == aware


def test_dropout_needs_keys_and_follows_them():
    model = fill(abstract_model("improved_dih256", "hrnet18s", dropout=0.5))
    image, mask = make_inputs()
    model.set_attributes(deterministic=False)
    with pytest.raises(ValueError, match="rngs"):
        model(image, mask)

    def run(seed: int) -> Output:
        return nnx.clone(model)(image, mask, rngs=nnx.Rngs(dropout=seed))

    np.testing.assert_array_equal(run(0).image, run(0).image)
    assert jnp.abs(run(0).image - run(1).image).max() > 1e-4


@pytest.mark.parametrize(
    ("backbone", "overrides", "message"),
    [
        ("hrnet18s", {"fuse_into": "middle"}, "fuse_into 'middle'.*encoder, decoder, both"),
        ("hrnet18s", {"fuse_mode": "add"}, "fuse_mode 'add'.*cat, catc, sum"),
        ("hrnet18s", {"mask_fusion": ""}, "mask_fusion ''.*sum, rgb, none"),
        ("deeplab_r34", {"ocr_channels": 8}, "deeplab_r34.*'ocr_channels'"),
        ("vgg", {}, "'vgg'.*hrnet18s"),
    ],
)
def test_unknown_choices_are_named(backbone, overrides, message):
    with pytest.raises(InputError, match=message):
        create_model("improved_dih256", rngs=nnx.Rngs(0), backbone=backbone, **overrides)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("backbone.hrnet.stage4.0.branches.0.0.conv1.kernel", True),
        ("backbone.deeplab.backbone.conv1.kernel", True),
        ("backbone.hrnet.conv3x3_ocr.0.kernel", False),
        ("backbone.hrnet.ocr_distri_head.conv_bn_dropout.0.kernel", False),
        ("backbone.deeplab.aspp.project.0.kernel", False),
        ("backbone.downsize.reduce_conv.block.0.kernel", False),
        ("mask_conv.0.kernel", False),
        ("model.encoder.block0.block.0.kernel", False),
    ],
)
def test_what_imagenet_weights_exist_for(path, expected):
    assert is_pretrained(path) == expected
