"""How a step holds its state: few arrays, which mean the same as the trees they are made of."""

import jax
import numpy as np
import pytest

from harmony_jax.devices.mesh import create_mesh
from harmony_jax.training import layout as layouts
from harmony_jax.training import setup
from tests.made_data import tiny_config
from tests.training.made_model import MadeModel, batch_of, leaves


def test_a_step_takes_few_arrays():
    """2,044 arrays as trees, which took a call 35 ms on the host (docs/performance.md)."""
    config = tiny_config()
    config.model.name = "hrnet18s_idih256"
    config.optimizer.name, config.optimizer.clip_norm, config.train.ema_decay = "adamw", 1.0, 0.9
    layout = setup.set_up(config, create_mesh(1), 100).layout
    assert len(jax.tree.leaves(layout.trees)) > 2000
    assert len(jax.tree.leaves(layout.vectors)) <= 24


def config_with_all_that_goes_by_name():
    config = tiny_config()
    config.optimizer.name, config.optimizer.weight_decay = "adamw", 0.5
    config.optimizer.clip_norm = 0.1
    config.optimizer.freeze = ("model.norm.*", "backbone.hrnet.out.kernel")
    config.train.ema_decay = 0.9
    return config


def trained(steps: int, shards: int = 1) -> tuple[setup.Training, list[np.ndarray]]:
    """The training, and its state's arrays after some steps, in the order of the trees."""
    config = config_with_all_that_goes_by_name()
    training = setup.set_up(config, create_mesh(2, shards), 100)
    state = training.begin()
    for number in range(steps):
        state, _ = training.step(state, batch_of(config, number))
    return training, leaves(training.layout.as_trees(state))


@pytest.fixture(params=["cpu", "divided", "gpu", "tpu"])
def shards(request, monkeypatch) -> int:
    """How arrays are joined on each platform, and where the state is divided: `mesh.shards`."""
    monkeypatch.setattr(setup, "build_model", lambda _: MadeModel())
    monkeypatch.setattr("harmony_jax.devices.mesh._MIN_SHARDED_SIZE", 12)  # some are divided
    if request.param == "gpu":
        monkeypatch.setattr(layouts, "_LAST_AXIS_FIRST", ("cpu",))
    if request.param == "tpu":
        monkeypatch.setattr(layouts, "_JOINED_BELOW", {"cpu": 12})
    return 2 if request.param == "divided" else 1


def test_joined_arrays_learn_as_each_by_itself(monkeypatch, shards):
    """Rates, decay, freezing, clipping and the average are those of each array's own name."""
    joined, found = trained(3, shards)
    monkeypatch.setattr(layouts, "treatment", lambda name, frozen: name)
    apart, expected = trained(3, shards)
    counts = [len(training.layout.vectors.variables.params) for training in (joined, apart)]
    assert counts[0] < counts[1] == len(jax.tree.leaves(apart.layout.trees.variables.params))
    _, begun = trained(0, shards)
    assert not all(map(np.array_equal, begun, found))
    for one, other in zip(found, expected, strict=True):
        # A wrong rate differs by some 1e-3; a gradient that is but rounding, by some 1e-5.
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-5)


def test_from_trees_and_back_nothing_changes(shards):
    layout = setup.set_up(config_with_all_that_goes_by_name(), create_mesh(2, shards), 100).layout
    shapes, tree = jax.tree.flatten(layout.trees)
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 99, leaf.shape).astype(leaf.dtype) for leaf in shapes]
    placed = jax.device_put(arrays, [leaf.sharding for leaf in shapes])
    vectors = layout.as_vectors(jax.tree.unflatten(tree, placed))
    again = layout.as_trees(vectors)
    assert jax.tree.structure(again) == tree
    for found, expected in zip(jax.tree.leaves(again), arrays, strict=True):
        np.testing.assert_array_equal(found, expected)
    divided = [leaf for leaf in jax.tree.leaves(vectors) if not leaf.sharding.is_fully_replicated]
    assert bool(divided) == (shards > 1)
