"""Full-size models against values measured on the released PyTorch code."""

from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from configs import base
from harmony_jax import (
    Output,
    create_model,
    list_models,
    load_torch_state_dict,
    normalize,
    to_torch_state_dict,
)
from harmony_jax.devices.mesh import create_mesh
from harmony_jax.losses import create_loss
from harmony_jax.models import HarmonizationModel, released_image_size
from harmony_jax.models.foreground_aware import ForegroundAware
from harmony_jax.training.layout import Layout
from harmony_jax.training.optimizer import create_optimizer, rate_labels
from harmony_jax.training.step import StepParts, make_train_step
from harmony_jax.weights.torch_keys import torch_key
from tests.compiling import fused_unoptimized
from tests.models.piecewise import compiled_in_parts
from tests.released import GOLDEN, golden, make_inputs, make_weights

TRAINED = (
    "deeplab_r34_idih256",
    "dih256",
    "hrnet18s_idih256",
    "improved_dih256",
    "improved_ssam256",
)
TALL = ("hrnet18s_idih256", "improved_dih256", "improved_ssam256")
ROUNDED = ("deeplab_r34_idih256", "hrnet18s_v2p_idih256", "improved_sedih256", "improved_ssam256")


class Case(NamedTuple):
    name: str
    expected: dict
    state_dict: dict[str, np.ndarray]
    model: HarmonizationModel  # with the golden weights, in training mode


def make_case(name: str, **overrides: Any) -> Case:
    expected = golden(name)
    state_dict = make_weights(expected["state_dict"])
    model = nnx.eval_shape(lambda: create_model(name, rngs=nnx.Rngs(0), **overrides))
    load_torch_state_dict(model, state_dict)
    return Case(name, expected, state_dict, model)


@pytest.fixture(scope="module", params=list_models())
def case(request) -> Case:
    return make_case(request.param)


def predict(
    model: HarmonizationModel, image: np.ndarray, mask: np.ndarray, is_whole: bool = False
) -> tuple[Output, list]:
    """The output, and the backbone's feature maps; compiled in parts or as a whole."""
    model = nnx.clone(model)
    model.eval()
    backbone_features = ForegroundAware.backbone_features

    def run(model, image, mask):
        maps = []

        def recorded(*inputs, **options):
            maps.extend(backbone_features(*inputs, **options))
            return maps

        with mock.patch.object(ForegroundAware, "backbone_features", recorded):
            return model(normalize(255 * image), mask), maps

    inputs = jnp.asarray(image), jnp.asarray(mask)
    if is_whole:
        graph, variables = nnx.split(model)
        whole = jax.jit(
            lambda variables, *inputs: run(nnx.merge(graph, variables), *inputs),
            compiler_options=fused_unoptimized(),
        )
        return whole(variables, *inputs)
    # An accelerator would round the operands of products to bfloat16 or less.
    precision = "default" if jax.default_backend() == "cpu" else "highest"
    with jax.default_matmul_precision(precision), compiled_in_parts():
        return run(model, *inputs)


def assert_within_range(found: np.ndarray, expected: np.ndarray) -> None:
    error = np.abs(np.asarray(found) - expected).max()
    assert error < 2e-4 * np.ptp(expected)


def test_every_model_has_its_golden_file():
    assert {path.stem for path in GOLDEN.glob("*.npz")} == set(list_models())


@pytest.mark.accelerator
def test_inference_and_conversion_back(case):
    side = released_image_size(case.name)
    image, mask, _ = make_inputs(0, (side, side), 1)
    output, maps = predict(case.model, image, mask)
    assert_within_range(output.image[:, 2::5, 2::5], case.expected["output"])
    np.testing.assert_allclose(output.image.mean(), case.expected["output_mean"], atol=1e-5)
    np.testing.assert_allclose(output.image.std(), case.expected["output_std"], rtol=1e-5)
    if "copy_weight" in case.expected:
        assert output.blend_mask.shape == (1, side, side, 1)
        assert_within_range(1 - output.blend_mask[:, 2::5, 2::5], case.expected["copy_weight"])
    else:
        assert output.blend_mask is None
    assert len(maps) == sum(key.startswith("backbone_") for key in case.expected)
    for i, features in enumerate(maps):
        shown = features[:, ::4, ::4] if features.shape[2] >= 32 else features
        assert_within_range(shown, case.expected[f"backbone_{i}"])

    found = to_torch_state_dict(case.model)
    assert [key for key, _ in case.expected["state_dict"] if key not in found] == []
    assert found.keys() == case.state_dict.keys()
    for key, value in case.state_dict.items():
        assert found[key].dtype == value.dtype, key
        np.testing.assert_array_equal(found[key], value, err_msg=key)


def test_padded_channels_give_the_same():
    """As a GPU computes them in bfloat16; the four scales reach the encoder padded."""
    case = make_case("hrnet18s_multiscale_idih256")
    case.model.set_attributes(pads_channels=True)
    image, mask, _ = make_inputs(0, (256, 256), 1)
    output, maps = predict(case.model, image, mask, is_whole=True)
    assert [features.shape[-1] for features in maps] == [24, 40, 72, 144]
    assert_within_range(output.image[:, 2::5, 2::5], case.expected["output"])


@pytest.mark.accelerator
@pytest.mark.parametrize("name", TALL)
def test_inference_on_a_tall_image(name):
    case = make_case(name)
    image, mask, _ = make_inputs(1, (384, 256), 2)
    output, _ = predict(case.model, image, mask)
    assert_within_range(output.image[:, 2::5, 2::5], case.expected["output_384x256_b2"])


@pytest.mark.parametrize("name", ROUNDED)
def test_bfloat16_stays_within_one_percent_of_the_range(name):
    """In the mean; on CPUs with bfloat16 instructions HRNet's greatest error is up to 5 %."""
    case = make_case(name, dtype=jnp.bfloat16)
    image, mask, _ = make_inputs(0, (256, 256), 1)
    output, maps = predict(case.model, image, mask)
    assert output.image.dtype == jnp.float32
    assert {features.dtype for features in maps} <= {jnp.dtype(jnp.bfloat16)}
    error = np.sqrt(np.square(output.image[:, 2::5, 2::5] - case.expected["output"]).mean())
    assert 1e-5 < error / np.ptp(case.expected["output"]) < 0.01
    state = nnx.state(case.model, (nnx.Param, nnx.BatchStat))
    types = {leaf.dtype for leaf in jax.tree.leaves(state)}
    assert types == {jnp.dtype("float32"), jnp.dtype("int32")}


@pytest.mark.parametrize("name", TRAINED)
def test_training(name):
    """Four steps of Adam; the gradients of the first are read from Adam's first moment."""
    config = base.get_config()
    dropout_off = {} if name.startswith(("dih", "improved")) else {"dropout": 0.0}
    case = make_case(name, **dropout_off)
    image, mask, target = make_inputs(2, (256, 256), 2)
    batch = {"composite": 255 * image, "mask": 255 * mask[..., 0], "real": 255 * target}
    mesh = create_mesh()
    if name.startswith(("hrnet", "deeplab")):
        # What they amplify of the rounding differs with the number of devices.
        mesh = create_mesh(1)
    optimizer = create_optimizer(config.optimizer, optax.constant_schedule(1e-3))
    layout = Layout(case.model, optimizer, mesh)
    state = layout.begin(case.model)
    step = make_train_step(StepParts(layout, create_loss(config.loss), optimizer, mesh))
    # HRNet amplifies that the quicker loops round otherwise.
    options = fused_unoptimized() if name.startswith("hrnet") else None
    step = step.lower(state, batch).compile(compiler_options=options)

    state, metrics = step(state, batch)
    losses = [float(metrics["loss"])]
    trees = layout.as_trees(state)
    moment = optax.tree.get(trees.optimizer, "mu")
    gradients = {key: norm / 0.1 for key, norm in norms_by_torch_key(moment).items()}
    statistics = norms_by_torch_key(trees.variables.batch_stats)
    for _ in range(3):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))

    np.testing.assert_allclose(losses, case.expected["train_losses"], rtol=5e-3)
    expected = case.expected["grad_norms"]
    assert gradients.keys() == expected.keys()
    # A bias before batch normalisation has no influence: its gradient is rounding.
    significant = 1e-5 * max(expected.values())
    ratios = {k: gradients[k] / norm for k, norm in expected.items() if norm > significant}
    # A bottleneck normalised over two images amplifies rounding, and CPUs round differently: one
    # without AVX-512 scales all gradients before the bottleneck by 0.990, and 99 % of what is left
    # are within 1.04 %. The gradient of `mask_conv.1.scale` is a sum that nearly cancels: the
    # released float32 value is 2 % off the float64 one, and ours was up to 3.4 % off the released.
    common = float(np.median(list(ratios.values())))
    assert abs(common - 1) < 0.02
    errors = {key: abs(ratio / common - 1) for key, ratio in ratios.items()}
    assert sorted(errors.values())[int(0.99 * len(errors))] < 0.015
    assert max(errors.values()) < 0.06, max(errors, key=lambda key: errors[key])
    for key in expected:
        assert key in errors or gradients[key] <= significant, key
    for key, norm in case.expected["bn_after_step1_norms"].items():
        np.testing.assert_allclose(statistics[key], norm, rtol=1e-3, err_msg=key)


@pytest.mark.parametrize("name", TRAINED)
def test_learning_rate_multipliers(name):
    model = nnx.eval_shape(lambda: create_model(name, rngs=nnx.Rngs(0)))
    labels = rate_labels(nnx.state(model, nnx.Param))
    rates = {"pretrained": base.get_config().optimizer.backbone_rate, "new": 1.0}
    found = {
        torch_key(path, 0)[0]: rates[label.get_value()] for path, label in nnx.to_flat_state(labels)
    }
    assert found == golden(name)["lr_mult"]


def norms_by_torch_key(state: nnx.State) -> dict[str, float]:
    return {
        torch_key(path, variable.ndim)[0]: float(jnp.linalg.norm(variable.get_value().ravel()))
        for path, variable in nnx.to_flat_state(state)
    }
