"""One config for each model, by its name, that says how to run it."""

import importlib
from pathlib import Path

import pytest
from flax import nnx

from configs import base
from harmony_jax import create_model, list_models
from harmony_jax.experiment import build_loss, check_numbers, model_arguments
from harmony_jax.models import released_image_size
from harmony_jax.models.foreground_aware import ForegroundAware
from harmony_jax.optimizer import learning_rate_schedule

FOLDER = Path(base.__file__).parent


def test_every_model_has_its_config():
    names = {path.stem for path in FOLDER.glob("*.py")}
    assert names == {"base", "demo", *list_models()}


@pytest.mark.parametrize("name", list_models())
def test_a_config_trains_the_model_of_its_name_as_released(name):
    module = importlib.import_module(f"configs.{name}")
    config = module.get_config()
    assert model_arguments(config) == {"name": name, "overrides": {}}
    assert config.data.image_size == released_image_size(name)
    check_numbers(config)
    build_loss(config)
    learning_rate_schedule(config.optimizer, steps_per_epoch=10.0)

    model = nnx.eval_shape(lambda: create_model(name, rngs=nnx.Rngs(0)))
    model.check_image_size(config.data.image_size, config.data.image_size)
    has_backbone = isinstance(model, ForegroundAware)
    assert config.train.epochs == (180 if has_backbone else 120)
    command = module.__doc__
    assert f"--config=configs/{name}.py" in command
    assert f"--workdir=runs/{name}" in command
    assert ("--config.init.backbone=" in command) == has_backbone
