"""float32 is multiplied as the config says, in every product of every compiled function.

Read off what is handed to the compiler, for a CPU and for a TPU, which get other forms.
"""

import re
from collections import Counter
from contextlib import nullcontext
from typing import Any
from unittest import mock

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict

from harmony_jax import Harmonizer, InputError, create_model
from harmony_jax.build import build_model, model_arguments
from harmony_jax.devices.mesh import create_mesh
from harmony_jax.evaluation.evaluator import Evaluator
from harmony_jax.training.loop import train
from harmony_jax.training.setup import set_up
from harmony_jax.variables import split
from harmony_jax.weights.export import export_stablehlo
from tests.made_data import tiny_config
from tests.training.test_loop import batch_of

PLATFORMS = ("cpu", "tpu")


def products(text: str) -> Counter:
    """How often each precision occurs in StableHLO; DEFAULT where none is said."""
    lines = [
        line for line in text.splitlines() if re.search(r"\.(convolution|dot_general)\W", line)
    ]
    said = [re.search(r"precision[^\[]*\[(?:#stablehlo<precision )?(\w+)", line) for line in lines]
    return Counter(match[1] if match else "DEFAULT" for match in said)


def lowered(function: Any, *arguments: Any) -> Counter:
    traced = function.trace(*arguments)
    total: Counter = Counter()
    for platform in PLATFORMS:
        total += products(traced.lower(lowering_platforms=(platform,)).as_text())
    return total


def lowered_step(config: ConfigDict) -> Counter:
    training = set_up(config, create_mesh(1), samples=100)
    with mock.patch("harmony_jax.training.step.forms_for", nullcontext):  # of each platform
        return lowered(training.step, training.layout.vectors, batch_of(config))


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
    found = lowered_step(config)
    assert found.keys() == {"HIGHEST"}
    assert found["HIGHEST"] > 100


def test_a_training_step_takes_the_accelerators_own_unless_asked():
    found = {}
    for asked in (None, "default", "high", "highest"):
        config = tiny_config()
        config.model.precision = asked
        found[asked] = lowered_step(config)
    assert found[None] == found["default"]
    assert found[None].keys() == {"DEFAULT"}
    assert found["high"].keys() == {"HIGH"}
    assert found["highest"].keys() == {"HIGHEST"}
    assert len({total.total() for total in found.values()}) == 1


@pytest.mark.parametrize(
    ("asked", "expected"), [(None, "HIGHEST"), ("default", "DEFAULT"), ("high", "HIGH")]
)
def test_validation_is_exact_though_training_is_not(asked, expected):
    config = tiny_config()
    config.model.precision = asked
    config.evaluation.flip = True
    model = build_model(config)
    evaluator = Evaluator(model, config, create_mesh(1), with_ssim=True)
    found = lowered(evaluator._measure, jax.tree.leaves(split(model)[1]), batch_of(config))
    assert found.keys() == {expected}


def test_harmonizing_and_exports_are_exact():
    sizes = {"depth": 4, "channels": 8, "max_channels": 16}
    model = create_model("improved_dih256", rngs=nnx.Rngs(0), **sizes)
    model.eval()
    harmonizer = Harmonizer(model, 32)
    pixels, mask = np.zeros((1, 32, 32, 3), np.uint8), np.ones((1, 32, 32), np.uint8)
    for compiled in (harmonizer._network, harmonizer._transform):
        found = lowered(compiled._jitted, harmonizer._arrays, pixels, mask)
        assert found.keys() == {"HIGHEST"}
    exported = jax.export.deserialize(bytearray(export_stablehlo(model, 32)))
    assert products(exported.mlir_module()).keys() == {"HIGHEST"}


def test_a_training_continues_with_another_precision(trained, caplog):
    config, workdir = trained
    config = config.copy_and_resolve_references()
    config.model.precision = "highest"
    assert model_arguments(config) == model_arguments(trained[0])
    train(config, workdir)
    assert "Continuing with model.precision highest instead of None" in caplog.messages


def test_names_that_there_are_not():
    config = tiny_config()
    config.model.precision = "float64"
    with pytest.raises(InputError, match=r"model\.precision 'float64': choose default, high"):
        build_model(config)
    with pytest.raises(InputError, match="precision 'float64': choose default, high, highest"):
        create_model("dih256", rngs=nnx.Rngs(0), precision="float64")
    config = tiny_config()
    config.train.gradient_dtype = "bfloat16"
    with pytest.raises(InputError, match=r"train\.gradient_dtype 'bfloat16': choose float32"):
        build_model(config)


def test_the_config_decides_the_type_of_gradients():
    for asked, expected in ((None, jnp.bfloat16), ("float32", jnp.float32)):
        config = tiny_config()
        config.model.dtype, config.train.gradient_dtype = "bfloat16", asked
        model = nnx.eval_shape(lambda config=config: build_model(config))
        kinds = {m.kernel_dtype for _, m in nnx.iter_modules(model) if hasattr(m, "kernel_dtype")}
        assert kinds == {expected}
