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
        layout = training.layout
        trees = layout.as_trees(state)
        for made, abstract in ((state, layout.vectors), (trees, layout.trees)):
            assert jax.tree.structure(made) == jax.tree.structure(abstract)
            for leaf, wanted in zip(*map(jax.tree.leaves, (made, abstract)), strict=True):
                assert (leaf.shape, leaf.dtype) == (wanted.shape, wanted.dtype)
                assert leaf.sharding == wanted.sharding
                assert leaf.committed
                assert not leaf.weak_type
        found.append([np.asarray(leaf) for leaf in jax.tree.leaves(trees)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    config.seed = 1
    training = set_up(config, create_mesh(2), 100)
    other = training.layout.as_trees(training.begin())
    pairs = zip(found[0], jax.tree.leaves(other), strict=True)
    assert any((one != np.asarray(leaf)).any() for one, leaf in pairs)
