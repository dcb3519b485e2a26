import jax
import pytest

from harmony_jax.devices.mesh import mesh_of
from harmony_jax.planning.hlo_text import instructions
from harmony_jax.planning.plan import lower_train_step
from harmony_jax.planning.step_traffic import (
    GRADIENTS,
    PARAMETERS,
    STATISTICS,
    collectives,
    required,
    surplus,
)
from tests.made_data import tiny_config

# iDIH of 4 levels with 8 channels, counted from its layers.
NUM_PARAMETERS = 15600
ENCODER_CHANNELS = 16 + 16  # of its batch normalisation
BATCHNORM_CHANNELS = ENCODER_CHANNELS + 16 + 8 + 8 + 4  # with the decoder's
SCALARS = 5  # the loss, and norms of two divided gradients and updates


@pytest.mark.parametrize(("shards", "freeze"), [(1, ()), (2, ()), (2, ("encoder.*",))])
def test_a_step_sends_gradients_and_statistics_once(shards, freeze):
    """More would be activations, repeated sums or gradients of batch statistics."""
    config = tiny_config()
    config.optimizer.freeze = freeze
    lowered, state = lower_train_step(config, mesh_of(jax.devices(), shards))
    needed = required(state, frozen=freeze)
    if freeze:
        assert needed[GRADIENTS] < NUM_PARAMETERS
        assert needed[STATISTICS] == 2 * (BATCHNORM_CHANNELS - ENCODER_CHANNELS)
    else:
        assert needed[GRADIENTS] == NUM_PARAMETERS
        assert needed[STATISTICS] == 2 * BATCHNORM_CHANNELS
    assert (needed[PARAMETERS] > 0) == (shards > 1)
    found = collectives(instructions(lowered.compile().as_text()))
    assert {collective.dtype for collective in found} == {"f32"}
    assert all(0 <= values <= SCALARS for values in surplus(found, needed).values()), found
