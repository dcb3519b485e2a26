import jax
import pytest

from harmony_jax.devices.mesh import mesh_of
from harmony_jax.planning.hlo_text import instructions
from harmony_jax.planning.plan import lower_train_step
from harmony_jax.planning.step_traffic import (
    GRADIENTS,
    PARAMETERS,
    STATISTICS,
    Collective,
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
    devices = jax.device_count()
    found = collectives(instructions(lowered.compile().as_text()), devices, devices)
    assert {collective.dtype for collective in found} == {"f32"}
    assert {(collective.devices, collective.hosts) for collective in found} == {(devices, 1)}
    assert all(0 <= values <= SCALARS for values in surplus(found, needed).values()), found


def test_what_a_device_sends_on_each_link():
    """8 hosts with 4 devices: sums within hosts, parts of these between them, and back."""
    reduced = Collective("all-reduce", GRADIENTS, "f32", 1, 100, 400, devices=32, hosts=8)
    assert reduced.sent() == (2 * 400 * 3 / 4, 2 * 100 * 7 / 8)
    gathered = Collective("all-gather", PARAMETERS, "f32", 1, 100, 400, devices=4)
    assert gathered.sent() == (400 * 3 / 4, 0)
    between = Collective("all-reduce", GRADIENTS, "f32", 1, 100, 400, devices=2, hosts=2)
    assert between.sent() == (0, 400)
