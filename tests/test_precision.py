"""float32 is multiplied as the config says, in every product of every function that is compiled.

Read off the traced functions, with the forms that all platforms compute in: on a CPU, which runs
the tests, all precisions are the same.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any
from unittest import mock

import jax
import jax.export
import numpy as np
import pytest
from flax import nnx
from jax.extend.core import ClosedJaxpr, Jaxpr
from jax.lax import Precision
from ml_collections import ConfigDict

from harmony_jax import Harmonizer, create_model
from harmony_jax.build import build_model
from harmony_jax.devices.mesh import create_mesh
from harmony_jax.evaluation.evaluator import Evaluator
from harmony_jax.training.setup import set_up
from harmony_jax.variables import split
from harmony_jax.weights.export import export_stablehlo
from tests.made_data import tiny_config
from tests.training.made_model import batch_of


def products(function: Any, *arguments: Any) -> Counter:
    """How often a jitted function multiplies in each precision."""
    found: Counter = Counter()
    for equation in _equations(function.trace(*arguments).jaxpr):
        if equation.primitive.name in ("conv_general_dilated", "dot_general"):
            precision = equation.params["precision"]
            first, *_ = precision if isinstance(precision, tuple) else (precision,)
            found[first or Precision.DEFAULT] += 1
    return found


def _equations(value: Any) -> Iterator[Any]:
    """The operations of a traced function and of all those inside it."""
    if isinstance(value, ClosedJaxpr):
        value = value.jaxpr
    if isinstance(value, Jaxpr):
        for equation in value.eqns:
            yield equation
            yield from _equations(list(equation.params.values()))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _equations(item)


def products_of_step(config: ConfigDict) -> Counter:
    training = set_up(config, create_mesh(1), samples=100)
    with mock.patch("harmony_jax.training.step.forms_for", nullcontext):  # of each platform
        return products(training.step, training.layout.vectors, batch_of(config))


def large(name: str, backbone: str, **fields: Any) -> ConfigDict:
    """A model of few channels that has every kind of layer of its base and backbone."""
    config = tiny_config()
    config.model.name, config.model.backbone = name, backbone
    config.model.update(fields)
    return config


EVERY_LAYER = {
    "S2AM on HRNet": large("improved_ssam256", "hrnet18s", depth=4, fuse_mode="sum"),
    "iSEDIH on DeepLab": large(
        "improved_sedih256", "deeplab_r34", attend_from=2, deeplab_channels=8, mask_fusion="rgb"
    ),
}


@pytest.mark.parametrize("name", EVERY_LAYER)
def test_every_product_of_a_training_step_is_exact_if_asked(name):
    config = EVERY_LAYER[name]
    config.model.precision = "highest"
    found = products_of_step(config)
    assert found.keys() == {Precision.HIGHEST}
    assert found.total() > 100


def test_a_training_step_takes_the_accelerators_own_unless_asked():
    found = {}
    for asked in (None, "default", "high", "highest"):
        config = tiny_config()
        config.model.precision = asked
        found[asked] = products_of_step(config)
    assert found[None] == found["default"]
    assert found[None].keys() == {Precision.DEFAULT}
    assert found["high"].keys() == {Precision.HIGH}
    assert found["highest"].keys() == {Precision.HIGHEST}
    assert len({total.total() for total in found.values()}) == 1


@pytest.mark.parametrize(
    ("asked", "expected"),
    [(None, Precision.HIGHEST), ("default", Precision.DEFAULT), ("high", Precision.HIGH)],
)
def test_validation_is_exact_though_training_is_not(asked, expected):
    config = tiny_config()
    config.model.precision = asked
    config.evaluation.flip = True
    model = build_model(config)
    evaluator = Evaluator(model, config, create_mesh(1), with_ssim=True)
    found = products(evaluator._measure, jax.tree.leaves(split(model)[1]), batch_of(config))
    assert found.keys() == {expected}


def test_harmonizing_and_exports_are_exact():
    sizes = {"depth": 4, "channels": 8, "max_channels": 16}
    model = create_model("improved_dih256", rngs=nnx.Rngs(0), **sizes)
    model.eval()
    harmonizer = Harmonizer(model, 32)
    pixels, mask = np.zeros((1, 32, 32, 3), np.uint8), np.ones((1, 32, 32), np.uint8)
    for compiled in (harmonizer._network, harmonizer._fit_photo):
        found = products(compiled._jitted, harmonizer._arrays, pixels, mask)
        assert found.keys() == {Precision.HIGHEST}
    exported = jax.export.deserialize(bytearray(export_stablehlo(model, 32))).mlir_module()
    multiplying = [
        line for line in exported.splitlines() if ".convolution" in line or ".dot_general" in line
    ]
    assert multiplying
    assert all("HIGHEST" in line for line in multiplying)
