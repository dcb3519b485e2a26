import pytest

from harmony_jax.planning.device_groups import device_groups


@pytest.mark.parametrize(
    ("attributes", "groups"),
    [
        ("replica_groups={{0,2},{1,3}}, to_apply=%add", [[0, 2], [1, 3]]),
        ("replica_groups={{0,1,2,3}}, to_apply=%add", [[0, 1, 2, 3]]),
        ("replica_groups={}, to_apply=%add", [[0, 1, 2, 3]]),
        ("to_apply=%add", [[0, 1, 2, 3]]),
        ("replica_groups=[1,4]<=[4], dimensions={0}", [[0, 1, 2, 3]]),
        ("replica_groups=[2,2]<=[2,2]T(1,0), dimensions={0}", [[0, 2], [1, 3]]),
        ("replica_groups=mesh['replica'=4,'shard'=1] {'replica'}, to_apply=%add", [[0, 1, 2, 3]]),
        ("replica_groups=mesh['replica'=2,'shard'=2] {'replica'}, to_apply=%add", [[0, 2], [1, 3]]),
        ("replica_groups=mesh['replica'=2,'shard'=2] {'shard'}, to_apply=%add", [[0, 1], [2, 3]]),
        ("replica_groups=mesh['a'=2,'b'=2] {'a','b'}, to_apply=%add", [[0, 1, 2, 3]]),
        ("replica_groups=mesh['a'=4] {'a':(1)2}, to_apply=%add", [[0, 2], [1, 3]]),
        ("replica_groups=mesh['a'=4] {'a':(2)2}, to_apply=%add", [[0, 1], [2, 3]]),
        (
            "replica_groups=mesh['a'=1,'b'=2,'c'=2], device_ids=([2,2]T(1,0)) {'b'}, channel_id=1",
            [[0, 1], [2, 3]],
        ),
        ("replica_groups=mesh['a'=2,'b'=2], device_ids=(3,1,2,0) {'b'}", [[3, 1], [2, 0]]),
    ],
)
def test_groups_in_every_notation(attributes, groups):
    assert device_groups(attributes, 4).tolist() == groups
