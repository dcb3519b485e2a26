"""The configs: one for all models, one for the rows of the paper's tables, recipes for photos."""

import importlib

import jax
import pytest
from flax import nnx
from ml_collections import ConfigDict

from configs import base, model, table
from harmony_jax import InputError, list_models
from harmony_jax.build import build_model, model_arguments
from harmony_jax.config_ranges import check_config
from harmony_jax.devices import mesh as meshes
from harmony_jax.evaluation.published import TABLES
from harmony_jax.losses import create_loss
from harmony_jax.models import list_backbones, released_image_size
from harmony_jax.training.optimizer import learning_rate_schedule
from harmony_jax.training.setup import set_up

ROWS = [(number, row) for number in TABLES for row in TABLES[number].experiment_rows()]


def flat(config: ConfigDict) -> dict:
    return {
        f"{section}.{field}": value
        for section, fields in config.to_dict().items()
        if isinstance(fields, dict)
        for field, value in fields.items()
    }


@pytest.mark.parametrize("name", list_models())
def test_a_model_is_trained_as_released(name):
    config = model.get_config(name)
    assert model_arguments(config) == {"name": name, "overrides": {}}
    assert config.data.image_size == released_image_size(name)
    assert config.train.epochs == (180 if name.startswith(tuple(list_backbones())) else 120)
    check_config(config)
    create_loss(config.loss)
    learning_rate_schedule(config, steps_per_epoch=10.0)


def test_losses_and_schedules_of_the_released_scripts():
    changed = {
        name: (config.loss.name, config.loss.min_area)
        for name in list_models()
        for config in [model.get_config(name)]
        if name.endswith("256") and (config.loss.name, config.loss.min_area) != ("fn_mse", 100)
    }
    assert changed == {
        "ssam256": ("mse", 100),
        "improved_ssam256": ("fn_mse", 1000),
        "iseunetv1_256": ("fn_mse", 1000),
    }
    assert model.get_config("improved_dih256").optimizer.milestones == (105, 115)
    assert model.get_config("hrnet18_idih512").optimizer.milestones == (160, 175)
    assert model.get_config("hrnet18_idih512").loss.min_area == 1000
    assert model.get_config("dih512").loss.name == "mse"


@pytest.mark.parametrize("name", ["demo", "photos_small", "ready"])
def test_a_recipe_for_photos_can_be_set_up(name):
    config = importlib.import_module(f"configs.{name}").get_config()
    check_config(config)
    training = set_up(config, meshes.mesh_of(jax.devices()[:1]), 1000)
    assert training.total_steps == config.train.epochs * 1000 // config.train.batch_size
    training.model.check_image_size(config.data.image_size, config.data.image_size)


@pytest.mark.parametrize(("number", "row"), ROWS, ids=lambda value: getattr(value, "key", value))
def test_a_row_is_the_papers_recipe_with_its_fields(number, row):
    config = table.get_config(f"{number},{row.key}")
    assert flat(config) == flat(base.get_config()) | {"model.name": row.model} | row.overrides
    assert (config.train.epochs, config.optimizer.milestones) == (180, (160, 175))


@pytest.mark.parametrize("key", ["hrnet18s_pyramid", "is2am_hrnet32"])
def test_a_row_on_a_backbone_is_a_model(key):
    config = table.get_config(f"5,{key}")
    assert nnx.eval_shape(lambda: build_model(config)).size_divisor > 1


@pytest.mark.parametrize(
    ("row", "message"),
    [("4,", "row ''.*dih_1, dih_10"), ("4,dih_2", "row 'dih_2'"), ("7,dih", "7"), ("dih", "dih")],
)
def test_an_unknown_row_is_told_those_there_are(row, message):
    with pytest.raises(InputError, match=message):
        table.get_config(row)
