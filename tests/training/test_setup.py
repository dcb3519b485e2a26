"""A training put together from its config."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from harmony_jax.devices.mesh import create_mesh
from harmony_jax.training import setup
from harmony_jax.training.setup import set_up
from tests.made_data import tiny_config
from tests.training.made_model import MadeModel, leaves


def test_a_state_begins_the_same_on_any_mesh_and_differs_by_seed(monkeypatch):
    monkeypatch.setattr("harmony_jax.devices.mesh._MIN_SHARDED_SIZE", 64)
    config = tiny_config()
    found = []
    for shards in (1, 2):
        training = set_up(config, create_mesh(2, shards), 100)
        found.append(leaves(training.layout.as_trees(training.begin())))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    config.seed = 1
    training = set_up(config, create_mesh(2), 100)
    other = leaves(training.layout.as_trees(training.begin()))
    assert not all(map(np.array_equal, found[0], other))


def test_a_parameter_that_begins_weakly_typed_is_typed_in_the_state(monkeypatch):
    """Or a step would be compiled twice."""

    class Weak(MadeModel):
        def __init__(self):
            super().__init__()
            self.factor = nnx.Param(jnp.full(1, 2.0))

    assert Weak().factor.get_value().weak_type
    monkeypatch.setattr(setup, "build_model", lambda _: Weak())
    state = set_up(tiny_config(), create_mesh(2), 100).begin()
    assert not [leaf for leaf in jax.tree.leaves(state) if leaf.weak_type]
