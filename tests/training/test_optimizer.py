"""Schedules, rates, decay, clipping and freezing, of the optimizer and of a step that has it."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from harmony_jax import InputError
from harmony_jax.devices.mesh import create_mesh
from harmony_jax.training import setup
from harmony_jax.training.freezing import parameter_name
from harmony_jax.training.optimizer import create_optimizer, learning_rate_schedule
from tests.made_data import tiny_config
from tests.training.made_model import MadeModel, advanced, batch_of


def config_with(**fields):
    """`tiny_config`, 4 epochs, with other fields of the optimizer."""
    config = tiny_config()
    config.optimizer.update(fields)
    return config


def rates(config, steps, steps_per_epoch: float = 10.0) -> list[float]:
    schedule = learning_rate_schedule(config, steps_per_epoch)
    return [float(schedule(step)) for step in steps]


def test_rates_drop_after_the_milestone_epochs():
    config = tiny_config()
    config.train.epochs, config.optimizer.milestones = 180, (160, 175)
    found = rates(config, (0, 399, 400, 437, 438, 1000), 2.5)
    np.testing.assert_allclose(found, [1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5], rtol=1e-5)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [  # of steps 10, 20, 25 and 40, the last; warm-up ends at 10
        ("piecewise", [1.0, 1.0, 1.0, 0.1]),
        ("cosine", [1.0, 0.2 + 0.8 * 0.75, (1 + 0.2) / 2, 0.2]),
        ("linear", [1.0, 0.2 + 0.8 * 2 / 3, (1 + 0.2) / 2, 0.2]),
        ("constant", [1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_after_a_warmup_each_schedule_takes_its_way(schedule, expected):
    config = config_with(schedule=schedule, warmup_epochs=1, final_rate=0.2, milestones=(3,))
    found = rates(config, (0, 1, 9, 10, 20, 25, 40))
    np.testing.assert_allclose(found, np.array([0, 0.1, 0.9, *expected]) * 1e-3, rtol=1e-6)
    if schedule == "piecewise":  # the milestones are still epochs of the training
        np.testing.assert_allclose(rates(config, (29, 30)), [1e-3, 1e-4], rtol=1e-5)


@pytest.mark.parametrize(("rule", "factor"), [("none", 1), ("linear", 4), ("sqrt", 2)])
def test_the_rate_follows_the_batch_by_the_rule_that_is_asked_for(rule, factor):
    config = config_with(batch_rule=rule)
    config.train.batch_size = 64
    np.testing.assert_allclose(rates(config, (0,)), [factor * 1e-3], rtol=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"optimizer.schedule": "step"}, "optimizer.schedule 'step'"),
        ({"optimizer.name": "sgd"}, "optimizer.name 'sgd'"),
        ({"optimizer.batch_rule": "x"}, "optimizer.batch_rule 'x'"),
        ({"optimizer.warmup_epochs": 4.0}, "optimizer.warmup_epochs 4.0"),
        ({"optimizer.warmup_epochs": -1.0}, "optimizer.warmup_epochs -1.0"),
        ({"optimizer.warmup_epochs": 3.5}, "optimizer.milestones (3,)"),
        ({"optimizer.final_rate": 1.5}, "optimizer.final_rate 1.5"),
        ({"optimizer.clip_norm": -1.0}, "optimizer.clip_norm -1.0"),
        ({"optimizer.weight_decay": 0.1}, "optimizer.weight_decay 0.1"),
        (
            {"optimizer.name": "adamw", "optimizer.weight_decay": -0.1},
            "optimizer.weight_decay -0.1",
        ),
        ({"optimizer.freeze": ("encoders.*",)}, "optimizer.freeze 'encoders.*'"),
        ({"optimizer.freeze": ("*",)}, "optimizer.freeze ('*',)"),
        ({"train.ema_decay": 1.0}, "train.ema_decay 1.0"),
    ],
)
def test_invalid_fields(fields, message):
    config = tiny_config()
    config.update_from_flattened_dict(fields)
    with pytest.raises(InputError, match=f"^{re.escape(message)}") as error:
        setup.set_up(config, create_mesh(1), 100)
    assert "\n" not in str(error.value)


def updates_of(config, gradients, parameters):
    optimizer = create_optimizer(config.optimizer, optax.constant_schedule(1e-3))
    return optimizer.update(gradients, optimizer.init(parameters), parameters)[0]


def test_adamw_shrinks_kernels_alone_by_the_rate_that_they_learn_at():
    part = {name: jnp.full(2, 3.0) for name in ("kernel", "bias", "scale", "factor")}
    parameters = {"backbone": {"hrnet": part}, "model": part}
    gradients = jax.tree.map(jnp.zeros_like, parameters)
    updates = updates_of(config_with(name="adamw", weight_decay=0.5), gradients, parameters)
    np.testing.assert_allclose(updates["model"]["kernel"], -1e-3 * 0.5 * 3.0, rtol=1e-6)
    pretrained = updates["backbone"]["hrnet"]["kernel"]
    np.testing.assert_allclose(pretrained, -1e-4 * 0.5 * 3.0, rtol=1e-6)
    for name in ("bias", "scale", "factor"):
        assert not updates["model"][name].any()


# Of a step of training, on a model that compiles in a second.


@pytest.fixture
def stepped(monkeypatch):
    """Runs steps of a training of MadeModel: its config to the states, that before included."""

    def run(config, count: int = 1, dropout: float = 0.0):
        monkeypatch.setattr(setup, "build_model", lambda _: MadeModel(dropout))
        training = setup.set_up(config, create_mesh(2), 100)
        states, scalars = advanced(training, training.begin(), 1, count)
        return [training.layout.as_trees(state) for state in states], scalars

    return run


def params_of(state) -> dict[str, np.ndarray]:
    return _named(state.variables.params)


def _named(tree) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {parameter_name(path): leaf for path, leaf in leaves}


def test_a_pretrained_parameter_moves_by_a_tenth(stepped):
    """Both parts begin equal, and get equal gradients: what moves them apart is their rate."""
    (before, after), _ = stepped(tiny_config())
    before, after = params_of(before), params_of(after)
    moved = {name: after[name] - before[name] for name in before}
    for name in ("conv.kernel", "norm.bias", "out.kernel"):
        assert np.abs(moved[f"model.{name}"]).min() > 0.9e-3
        np.testing.assert_allclose(
            moved[f"backbone.hrnet.{name}"], 0.1 * moved[f"model.{name}"], rtol=1e-2
        )


def test_clipping_scales_all_gradients_down_to_the_norm(stepped):
    """With a large epsilon Adam's first step shows how long the gradient is."""
    config = config_with(eps=1.0, backbone_rate=1.0)
    (_, free), (scalars,) = stepped(config)
    gradients = _named(optax.tree.get(free.optimizer, "mu"))  # times 1 - b1
    norm = scalars["gradient_norm"]
    whole = np.sqrt(sum(np.square(value / 0.1).sum() for value in gradients.values()))
    np.testing.assert_allclose(norm, whole, rtol=1e-5)
    config.optimizer.clip_norm = norm / 4
    (before, after), (clipped,) = stepped(config)
    assert clipped["gradient_norm"] == norm  # what is reported is what there was to clip
    for name, value in params_of(after).items():
        gradient = gradients[name] / 0.1 / 4
        expected = params_of(before)[name] - 1e-3 * gradient / (np.abs(gradient) + 1.0)
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-7)
    config.optimizer.clip_norm = norm * 1.1
    (_, after), _ = stepped(config)
    for name, value in params_of(after).items():
        np.testing.assert_allclose(value, params_of(free)[name], rtol=1e-6)


def test_norms_are_of_gradients_parameters_and_what_is_added_to_them(stepped):
    (before, after), (scalars,) = stepped(tiny_config())
    before, after = params_of(before), params_of(after)

    def norm(values) -> float:
        return float(np.sqrt(sum(np.square(value).sum() for value in values)))

    np.testing.assert_allclose(scalars["parameter_norm"], norm(before.values()), rtol=1e-5)
    moved = norm(after[name] - before[name] for name in before)
    np.testing.assert_allclose(scalars["update_norm"], moved, rtol=1e-3)


def test_what_is_frozen_stays_with_its_statistics_to_the_last_bit(stepped):
    config = config_with(freeze=("backbone.*",), name="adamw", weight_decay=0.1)
    config.train.ema_decay = 0.9
    (before, *_, after), (scalars, *_) = stepped(config, 3, dropout=0.5)
    for first, last in zip(before.variables, after.variables, strict=True):
        first, last = _named(first), _named(last)
        for name, value in first.items():
            assert np.array_equal(value, last[name]) == name.startswith("backbone."), name
    average = _named(optax.tree.get(after.optimizer, "params"))
    for name, value in params_of(after).items():
        assert np.array_equal(value, average[name]) == name.startswith("backbone."), name
    moments = _named(optax.tree.get(after.optimizer, "mu"))
    assert moments.keys() == {name for name in average if name.startswith("model.")}
    gradients = _named(optax.tree.get(after.optimizer, "nu"))
    assert all(value.any() for value in gradients.values())
    assert scalars["gradient_norm"] > 0


def test_a_frozen_part_computes_as_in_evaluation(monkeypatch):
    """With its running statistics and no dropout; the other part as in training."""
    monkeypatch.setattr(setup, "build_model", lambda _: MadeModel(0.5))
    config = config_with(freeze=("backbone.hrnet.*",))
    model = setup.set_up(config, create_mesh(1), 100).model
    assert model.backbone.hrnet.norm.use_running_average
    assert model.backbone.hrnet.dropout.deterministic
    assert not model.model.norm.use_running_average
    assert not model.model.dropout.deterministic
    config.optimizer.freeze = ("backbone.hrnet.norm.scale",)  # its bias learns
    model = setup.set_up(config, create_mesh(1), 100).model
    assert not model.backbone.hrnet.norm.use_running_average


def test_nothing_is_computed_back_into_what_is_frozen(monkeypatch):
    monkeypatch.setattr(setup, "build_model", lambda _: MadeModel())

    def flops(**fields) -> float:
        config = config_with(**fields)
        training = setup.set_up(config, create_mesh(1), 100)
        batch = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, batch_of(config)))
        return training.step.lower(training.layout.vectors, batch).cost_analysis()["flops"]

    assert flops(freeze=("backbone.*",)) < 0.8 * flops()
