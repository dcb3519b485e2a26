"""A training put together from its config."""

import jax
import numpy as np

from harmony_jax.devices.mesh import create_mesh
from harmony_jax.training.setup import set_up
from tests.made_data import tiny_config


def test_a_state_is_born_as_it_will_live_and_the_same_on_any_mesh():
    config = tiny_config()
    found = []
    for shards in (1, 2):
        training = set_up(config, create_mesh(2, shards), 100)
        state = training.begin()
        for leaf, wanted in zip(*map(jax.tree.leaves, (state, training.state)), strict=True):
            assert (leaf.shape, leaf.dtype) == (wanted.shape, wanted.dtype)
            assert leaf.sharding == wanted.sharding
            assert leaf.committed
            assert not leaf.weak_type
        found.append([np.asarray(leaf) for leaf in jax.tree.leaves(state)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    config.seed = 1
    other = set_up(config, create_mesh(2), 100).begin()
    pairs = zip(found[0], jax.tree.leaves(other), strict=True)
    assert any((one != np.asarray(leaf)).any() for one, leaf in pairs)
