import jax
import pytest

from harmony_jax.devices.mesh import mesh_of
from harmony_jax.planning.collectives import collectives, device_group
from harmony_jax.planning.hlo import operations
from harmony_jax.planning.plan import lower_train_step
from tests.made_data import tiny_config

# iDIH of 4 levels with 8 channels, counted from its layers: parameters, and channels of batch
# normalisation, which need two sums each in the forward pass.
PARAMETERS, ENCODER_PARAMETERS = 15600, 7792
CHANNELS, ENCODER_CHANNELS = 16 + 16 + 16 + 8 + 8 + 4, 16 + 16
SCALARS = 5  # the loss, and norms of two divided gradients and updates


@pytest.mark.parametrize(("shards", "freeze"), [(1, ()), (2, ()), (2, ("encoder.*",))])
def test_a_step_sends_gradients_and_statistics_once(shards, freeze):
    """More would be activations, repeated sums or gradients of batch statistics."""
    config = tiny_config()
    config.optimizer.freeze = freeze
    lowered = lower_train_step(config, mesh_of(jax.devices(), shards))
    devices = jax.device_count()
    found = collectives(operations(lowered.compile().as_text()), devices, devices)
    assert {collective.dtype for collective in found} == {"f32"}
    assert {(collective.devices, collective.hosts) for collective in found} == {(devices, 1)}
    gathered = sum(c.bytes for c in found if c.kind == "all-gather")
    assert (gathered > 0) == (shards > 1)
    assert gathered <= 4 * PARAMETERS
    needed = PARAMETERS + 2 * CHANNELS
    if freeze:
        needed -= ENCODER_PARAMETERS + 2 * ENCODER_CHANNELS
    reduced = sum(collective.bytes for collective in found) - gathered
    assert 0 <= reduced / 4 - needed <= SCALARS, found


@pytest.mark.parametrize(
    ("groups", "first"),
    [
        ("{{0,2},{1,3}}, to_apply=%add", [0, 2]),
        ("{}, to_apply=%add", [0, 1, 2, 3]),
        ("[1,4]<=[4], dimensions={0}", [0, 1, 2, 3]),
        ("[2,2]<=[2,2]T(1,0), dimensions={0}", [0, 2]),
        ("mesh['replica'=4,'shard'=1] {'replica'}, to_apply=%add", [0, 1, 2, 3]),
        ("mesh['replica'=2,'shard'=2] {'replica'}, to_apply=%add", [0, 2]),
        ("mesh['replica'=2,'shard'=2] {'shard'}, to_apply=%add", [0, 1]),
        ("mesh['a'=2,'b'=2] {'a','b'}, to_apply=%add", [0, 1, 2, 3]),
        ("mesh['a'=4] {'a':(1)2}, to_apply=%add", [0, 2]),
        ("mesh['a'=4] {'a':(2)2}, to_apply=%add", [0, 1]),
        ("mesh['a'=1,'b'=2,'c'=2], device_ids=([2,2]T(1,0)) {'b'}, channel_id=1", [0, 1]),
        ("mesh['a'=2,'b'=2], device_ids=(3,1,2,0) {'b'}", [3, 1]),
    ],
)
def test_groups_in_every_notation(groups, first):
    assert device_group(f"replica_groups={groups}", 4).tolist() == first
    assert device_group("to_apply=%add", 4).tolist() == [0, 1, 2, 3]
