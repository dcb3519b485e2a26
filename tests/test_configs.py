"""One config for each model, by its name, that says how to run it; one for each paper's table."""

import importlib
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict

from configs import base
from harmony_jax import InputError, create_model, list_models
from harmony_jax.build import build_model, check_numbers, model_arguments
from harmony_jax.data.composites.recipe import Recipe
from harmony_jax.data.splits import open_split
from harmony_jax.data.training_data import TrainingData
from harmony_jax.devices import mesh as meshes
from harmony_jax.evaluation.published import TABLES
from harmony_jax.losses import create_loss
from harmony_jax.models import released_image_size
from harmony_jax.models.foreground_aware import ForegroundAware
from harmony_jax.training.optimizer import learning_rate_schedule
from harmony_jax.training.setup import set_up
from tests.made_data import SUBSETS

FOLDER = Path(base.__file__).parent

BOTH = {"model.fuse_into": "both"}
# What each row of the paper's tables trains: model and fields that differ from configs/base.py.
EXPERIMENTS = {
    1: {
        "dih": ("dih256", {}),
        "idih": ("improved_dih256", {}),
        "idih_hrnet18s": ("hrnet18s_idih256", BOTH),
    },
    3: {
        "dih": (
            "dih256",
            {"data.random_crop": False, "data.random_flip": False, "loss.name": "mse"},
        ),
        "dih_flip": ("dih256", {"data.random_crop": False, "loss.name": "mse"}),
        "dih_flip_crop": ("dih256", {"loss.name": "mse"}),
        "dih_flip_crop_fn_mse": ("dih256", {}),
        "idih_flip_crop": ("improved_dih256", {"loss.name": "mse"}),
        "idih_flip_crop_fn_mse": ("improved_dih256", {}),
        "is2am_flip_crop": ("improved_ssam256", {"loss.name": "mse"}),
        "is2am_flip_crop_fn_mse": ("improved_ssam256", {}),
    },
    4: {
        "dih_1": ("dih256", {"loss.min_area": 1.0}),
        "dih_10": ("dih256", {"loss.min_area": 10.0}),
        "dih_100": ("dih256", {}),
        "dih_1000": ("dih256", {"loss.min_area": 1000.0}),
        "dih_10000": ("dih256", {"loss.min_area": 10000.0}),
        "idih_1": ("improved_dih256", {"loss.min_area": 1.0}),
        "idih_10": ("improved_dih256", {"loss.min_area": 10.0}),
        "idih_100": ("improved_dih256", {}),
        "idih_1000": ("improved_dih256", {"loss.min_area": 1000.0}),
        "idih_10000": ("improved_dih256", {"loss.min_area": 10000.0}),
    },
    5: {
        "hrnet18s": ("hrnet18s_idih256", BOTH),
        "hrnet18s_no_mask": ("hrnet18s_no_mask_idih256", BOTH),
        "hrnet18s_pyramid": ("hrnet18s_v2p_idih256", BOTH),
        "hrnet18": ("hrnet18_idih256", BOTH),
        "hrnet32": ("hrnet32_idih256", BOTH),
        "deeplab_r34": ("deeplab_r34_idih256", BOTH),
        "is2am_hrnet18s": ("hrnet18s_issam256", BOTH),
        "is2am_hrnet18": ("hrnet18_issam256", BOTH),
        "is2am_hrnet32": ("hrnet32_issam256", BOTH),
    },
    6: {
        "decoder_random": ("hrnet18s_idih256", {"model.fuse_into": "decoder"}),
        "decoder_imagenet": ("hrnet18s_idih256", {"model.fuse_into": "decoder"}),
        "encoder_random": ("hrnet18s_idih256", {"model.fuse_into": "encoder"}),
        "encoder_imagenet": ("hrnet18s_idih256", {"model.fuse_into": "encoder"}),
        "both_random": ("hrnet18s_idih256", BOTH),
        "both_imagenet": ("hrnet18s_idih256", BOTH),
    },
}
ROWS = [(number, key) for number, rows in EXPERIMENTS.items() for key in rows]
# File of ImageNet weights by backbone (docs/models.md).
WEIGHTS = {
    "hrnet18s": "hrnet_w18_small_model_v2.pth",
    "hrnet18": "hrnetv2_w18_imagenet_pretrained.pth",
    "hrnet32": "hrnetv2_w32_imagenet_pretrained.pth",
    "deeplab_r34": "gluon_resnet34_v1b-c6d82d59.pth",
}


def flat(config: ConfigDict) -> dict:
    return {
        f"{section}.{field}": value
        for section, fields in config.to_dict().items()
        if isinstance(fields, dict)
        for field, value in fields.items()
    }


def table_config(number: int, key: str) -> ConfigDict:
    return importlib.import_module(f"configs.table{number}").get_config(key)


def test_every_model_has_its_config():
    names = {path.stem for path in FOLDER.glob("*.py")}
    tables = {f"table{number}" for number in EXPERIMENTS}
    recipes = {"demo", "photos_small", "ready"}  # of composites made while training
    assert names == {"base", "paper_rows", *recipes, *tables, *list_models()}


@pytest.mark.parametrize("name", ["demo", "photos_small", "ready"])
def test_a_recipe_for_photos_can_be_set_up(name):
    config = importlib.import_module(f"configs.{name}").get_config()
    check_numbers(config)
    Recipe.of(config.data.composites)
    training = set_up(config, meshes.mesh_of(jax.devices()[:1]), 1000)
    assert training.total_steps == config.train.epochs * 1000 // config.train.batch_size
    training.model.check_image_size(config.data.image_size, config.data.image_size)


@pytest.mark.parametrize("name", list_models())
def test_a_config_trains_the_model_of_its_name_as_released(name):
    module = importlib.import_module(f"configs.{name}")
    config = module.get_config()
    assert model_arguments(config) == {"name": name, "overrides": {}}
    assert config.data.image_size == released_image_size(name)
    check_numbers(config)
    create_loss(config.loss)
    learning_rate_schedule(config, steps_per_epoch=10.0)

    model = nnx.eval_shape(lambda: create_model(name, rngs=nnx.Rngs(0)))
    model.check_image_size(config.data.image_size, config.data.image_size)
    has_backbone = isinstance(model, ForegroundAware)
    assert config.train.epochs == (180 if has_backbone else 120)
    command = module.__doc__
    assert f"--config=configs/{name}.py" in command
    assert f"--workdir=runs/{name}" in command
    assert ("--config.init.backbone=" in command) == has_backbone


def test_a_table_has_its_rows():
    for number, rows in EXPERIMENTS.items():
        assert [row.key for row in TABLES[number].experiment_rows()] == list(rows)


@pytest.mark.parametrize(("number", "key"), ROWS)
def test_a_row_trains_the_papers_recipe_with_its_fields(number, key):
    config, paper = table_config(number, key), flat(base.get_config())
    model, fields = EXPERIMENTS[number][key]
    assert flat(config) == paper | {"model.name": model} | fields
    assert (config.train.epochs, config.optimizer.milestones) == (180, (160, 175))
    assert (config.loss.name == "mse") == ("fn_mse" not in key and number == 3)


@pytest.mark.parametrize("key", EXPERIMENTS[5])
def test_a_row_on_a_backbone_is_a_model(key):
    config = table_config(5, key)
    assert isinstance(nnx.eval_shape(lambda: build_model(config)), ForegroundAware)


@pytest.mark.parametrize(("number", "key"), ROWS)
def test_a_row_on_a_backbone_names_its_imagenet_weights(number, key):
    backbones = [name for name in WEIGHTS if EXPERIMENTS[number][key][0].startswith(f"{name}_")]
    expected = "" if key.endswith("_random") else "".join(WEIGHTS[name] for name in backbones)
    assert TABLES[number].find(key).weights == expected


@pytest.mark.parametrize("number", EXPERIMENTS)
def test_a_table_lists_its_rows_with_their_published_numbers(number):
    text = importlib.import_module(f"configs.table{number}").__doc__
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    table = TABLES[number]
    for row in table.experiment_rows():
        numbers = [f"{row.metrics[c]:.2f}" for c in table.columns if c.startswith("All")]
        assert row.label in lines[row.key]
        assert lines[row.key].replace("/", " ").split()[-len(numbers) :] == numbers
    assert f"scripts/run_table.py {number} " in text
    assert f"--config=configs/table{number}.py:" in text


@pytest.mark.parametrize("key", ["", "dih_2"])
def test_an_unknown_row_is_told_those_there_are(key):
    with pytest.raises(InputError, match=f"table 4 has no row '{key}': choose dih_1, dih_10, .*"):
        table_config(4, key)


@pytest.fixture
def hasty_compiler():
    """Hardly any optimisation: half the time for programs that run twice."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


# Each experiment once, though several tables have it.
TRAINED = [(3, key) for key in EXPERIMENTS[3] if not key.startswith("is2am")]
TRAINED += [(4, key) for key in EXPERIMENTS[4] if not key.endswith("_100")]
TRAINED += [(6, "decoder_random")]


@pytest.mark.parametrize(("number", "key"), TRAINED)
def test_a_row_trains(number, key, mini_root, hasty_compiler):
    config = table_config(number, key)
    config.data.root, config.data.subsets = str(mini_root), SUBSETS
    config.data.image_size, config.data.num_workers = 32, 0
    config.model.depth, config.model.channels, config.model.max_channels = 4, 8, 16
    config.train.batch_size = 4
    mesh, source = meshes.mesh_of(jax.devices()[:1]), open_split(config.data, "train")
    training = set_up(config, mesh, len(source))
    state = training.begin()
    data = TrainingData(source, config, mesh, 0)
    losses = []
    for _ in range(2):
        state, metrics = training.step(state, data.next())
        losses.append(float(metrics["loss"]))
    data.close()
    assert np.isfinite(losses).all()
    assert losses[0] != losses[1]
