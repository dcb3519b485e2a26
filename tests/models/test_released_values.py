"""Full-size models against values measured on the released PyTorch code."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from configs import base
from harmony_jax import create_model, load_torch_state_dict, normalize, to_torch_state_dict
from harmony_jax.experiment import build_loss
from harmony_jax.mesh import create_mesh
from harmony_jax.torch_weights import torch_key
from harmony_jax.train import create_state, make_train_step
from tests.released import golden, make_inputs, make_weights

NAMES = ("dih256", "dih512", "improved_dih256", "improved_dih512")


class Case(NamedTuple):
    name: str
    expected: dict
    state_dict: dict[str, np.ndarray]
    model: nnx.Module  # with the golden weights, in training mode


@pytest.fixture(scope="module", params=NAMES)
def case(request) -> Case:
    expected = golden(request.param)
    state_dict = make_weights(expected["state_dict"])
    model = nnx.eval_shape(lambda: create_model(request.param, rngs=nnx.Rngs(0)))
    load_torch_state_dict(model, state_dict)
    return Case(request.param, expected, state_dict, model)


def predict(model: nnx.Module, image: np.ndarray, mask: np.ndarray):
    model = nnx.clone(model)
    model.eval()
    graph, variables = nnx.split(model)
    return jax.jit(lambda v, x, m: nnx.merge(graph, v)(normalize(255 * x), m))(
        variables, jnp.asarray(image), jnp.asarray(mask)
    )


def assert_within_range(found: np.ndarray, expected: np.ndarray) -> None:
    error = np.abs(np.asarray(found) - expected).max()
    assert error < 2e-4 * np.ptp(expected)


def test_inference(case):
    side = 512 if case.name.endswith("512") else 256
    image, mask, _ = make_inputs(0, (side, side), 1)
    output = predict(case.model, image, mask)
    assert_within_range(output.image[:, 2::5, 2::5], case.expected["output"])
    np.testing.assert_allclose(output.image.mean(), case.expected["output_mean"], atol=1e-5)
    np.testing.assert_allclose(output.image.std(), case.expected["output_std"], rtol=1e-5)
    if "copy_weight" in case.expected:
        assert output.blend_mask.shape == (1, side, side, 1)
        assert_within_range(1 - output.blend_mask[:, 2::5, 2::5], case.expected["copy_weight"])
    else:
        assert output.blend_mask is None


@pytest.mark.parametrize("case", ["improved_dih256"], indirect=True)
def test_inference_on_a_tall_image(case):
    image, mask, _ = make_inputs(1, (384, 256), 2)
    output = predict(case.model, image, mask)
    assert_within_range(output.image[:, 2::5, 2::5], case.expected["output_384x256_b2"])


@pytest.mark.parametrize("case", ["dih256", "improved_dih256"], indirect=True)
def test_training(case):
    """Four steps of Adam; the gradients of the first are read from Adam's first moment."""
    image, mask, target = make_inputs(2, (256, 256), 2)
    batch = {"composite": 255 * image, "mask": 255 * mask[..., 0], "real": 255 * target}
    mesh = create_mesh()
    optimizer = optax.adam(1e-3, b1=0.9, b2=0.999, eps=1e-8)
    graph, state = create_state(nnx.clone(case.model), optimizer, mesh)
    step = make_train_step(graph, build_loss(base.get_config()), optimizer, mesh)

    state, metrics = step(state, batch)
    losses = [float(metrics["loss"])]
    gradients = {key: norm / 0.1 for key, norm in norms_by_torch_key(state.optimizer[0].mu).items()}
    statistics = norms_by_torch_key(state.variables.batch_stats)
    for _ in range(3):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))

    np.testing.assert_allclose(losses, case.expected["train_losses"], rtol=5e-3)
    expected = case.expected["grad_norms"]
    assert gradients.keys() == expected.keys()
    # A bias before batch normalisation has no influence: its gradient is rounding.
    significant = 1e-5 * max(expected.values())
    for key, norm in expected.items():
        if norm > significant:
            np.testing.assert_allclose(gradients[key], norm, rtol=1e-2, err_msg=key)
        else:
            assert gradients[key] <= significant, key
    for key, norm in case.expected["bn_after_step1_norms"].items():
        np.testing.assert_allclose(statistics[key], norm, rtol=1e-3, err_msg=key)


def test_torch_state_dict_comes_back_unchanged(case):
    found = to_torch_state_dict(case.model)
    assert found.keys() == case.state_dict.keys()
    for key, value in case.state_dict.items():
        assert found[key].dtype == value.dtype, key
        np.testing.assert_array_equal(found[key], value, err_msg=key)


def norms_by_torch_key(state: nnx.State) -> dict[str, float]:
    return {
        torch_key(path, variable.ndim)[0]: float(jnp.linalg.norm(variable.get_value().ravel()))
        for path, variable in nnx.to_flat_state(state)
    }
