import numpy as np
import pytest

from harmony_jax import InputError
from harmony_jax.devices.mesh import (
    check_batch_size,
    create_mesh,
    place,
    replicated,
    sharded,
    state_shardings,
    to_devices,
)


@pytest.mark.parametrize(
    ("devices", "shards", "message"),
    [
        (3, 1, r"mesh\.devices 3: there are 2 devices"),
        (-1, 1, r"mesh\.devices -1"),
        (2, 3, r"mesh\.shards 3"),
        (0, -2, r"mesh\.shards -2"),
    ],
)
def test_invalid_meshes(devices, shards, message):
    with pytest.raises(InputError, match=message):
        create_mesh(devices, shards)


def test_a_batch_size_that_the_mesh_does_not_divide():
    mesh = create_mesh()
    check_batch_size("train.batch_size", 8, mesh, parts=4)
    for batch_size, parts, message in (
        (3, 1, r"train\.batch_size 3: .*2 devices: choose 4,"),
        (4, 4, r"2 devices times 4 \(train\.accumulate\): choose 8,"),
        (-1, 1, r"choose 2,"),
    ):
        with pytest.raises(InputError, match=message):
            check_batch_size("train.batch_size", batch_size, mesh, parts)


def test_rows_of_a_batch_lie_on_the_devices_in_order():
    mesh = create_mesh()
    batch = to_devices({"index": np.arange(4)}, mesh)
    assert batch["index"].sharding == sharded(mesh)
    rows = [np.asarray(shard.data).tolist() for shard in batch["index"].addressable_shards]
    assert rows == [[0, 1], [2, 3]]


def test_a_divided_state_takes_half_the_memory_of_each_of_two_devices():
    state = {
        "kernel": np.zeros((3, 3, 64, 128), np.float32),
        "odd": np.zeros((3, 3, 81, 129), np.float32),  # no axis that two devices divide
        "bias": np.zeros(128, np.float32),  # too small to gain
    }
    placed = place(state, state_shardings(state, create_mesh(2, 2)))
    sizes = {key: array.addressable_shards[0].data.shape for key, array in placed.items()}
    assert sizes == {"kernel": (3, 3, 64, 64), "odd": (3, 3, 81, 129), "bias": (128,)}
    whole = place(state, replicated(create_mesh(2, 1)))
    assert all(array.is_fully_replicated for array in whole.values())
