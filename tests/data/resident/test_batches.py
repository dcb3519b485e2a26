import re
from types import SimpleNamespace

import cv2
import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from harmony_jax import InputError
from harmony_jax.data.batching import PIXELS, Augmentation, BatchOrder
from harmony_jax.data.resident import memory
from harmony_jax.data.resident import store as resident_store
from harmony_jax.data.resident.batches import ResidentBatches, compile_augmentation
from harmony_jax.data.resident.lanes import Lanes
from harmony_jax.data.resident.store import Decoder, Storage, stored_pixels
from harmony_jax.data.sources import Numbered
from harmony_jax.devices import mesh as meshes
from tests.made_data import Numbers, assert_same_batches, take

BATCH = 6
ORDER, AUGMENTATION = BatchOrder(BATCH, seed=0), Augmentation(8)
STORAGE = Storage(size=16)


class Photos(Numbers):
    """15 samples of several sizes, smaller and larger than they are stored."""

    def __len__(self) -> int:
        return 15

    def __getitem__(self, index: int) -> dict:
        rng = np.random.default_rng(index)
        height, width = rng.integers(10, 30, 2)
        pixels = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
        return {"composite": pixels, "real": 255 - pixels, "mask": pixels[..., 0]}


def mesh_of(count: int) -> Mesh:
    return meshes.mesh_of(jax.devices()[:count])


def batches(
    source,
    devices=1,
    order=ORDER,
    augmentation=AUGMENTATION,
    unreadable="error",
    first_only=False,
    **storage,
) -> ResidentBatches:
    samples, storage = Numbered(source, unreadable), STORAGE._replace(**storage)
    return ResidentBatches(samples, augmentation, order, mesh_of(devices), storage, first_only)


@pytest.fixture(scope="module")
def expected() -> list[dict[str, np.ndarray]]:
    return take(batches(Photos()), 8)


def test_every_epoch_visits_every_sample_once_in_another_order():
    found = take(batches(Numbers().select(range(18))), 6)  # two epochs
    seen = np.concatenate([batch["index"] for batch in found])
    assert sorted(seen[:18]) == sorted(seen[18:]) == list(range(18))
    assert seen[:18].tolist() != seen[18:].tolist()
    for batch in found:
        for key in PIXELS:  # `Numbers` fills sample i with the value i
            assert batch[key].dtype == np.uint8
            assert batch[key].shape[:3] == (BATCH, 8, 8)
            np.testing.assert_array_equal(batch[key].reshape(BATCH, -1).max(1), batch["index"])
            np.testing.assert_array_equal(batch[key].reshape(BATCH, -1).min(1), batch["index"])


@pytest.mark.parametrize("devices", [1, 2])
def test_batches_are_the_same_from_the_hosts_memory(devices, expected):
    assert_same_batches(take(batches(Photos(), devices, on_host=True), 8), expected)


def test_batches_are_the_same_on_two_devices_which_get_samples_in_parts(monkeypatch, expected):
    monkeypatch.setattr(resident_store, "_CHUNK_BYTES", 2 * BATCH * 7 * 16**2)  # 2 of 3 slots
    assert_same_batches(take(batches(Photos(), devices=2), 8), expected)
    batch = next(batches(Photos(), devices=2))
    for key in PIXELS:
        assert batch[key].sharding == meshes.sharded(mesh_of(2))
        assert [len(shard.data) for shard in batch[key].addressable_shards] == [3, 3]


def test_all_three_pictures_get_the_same_crop_and_flip_in_every_pass_another(expected):
    for batch in expected:
        np.testing.assert_allclose(batch["composite"], 255 - batch["real"].astype(int), atol=1)
        np.testing.assert_array_equal(batch["composite"][..., 0], batch["mask"])
    of_one = [row.tobytes() for b in expected for row in b["mask"][b["index"] == 0]]
    assert len(set(of_one)) == len(of_one) > 1


def test_training_continues_with_the_batch_it_would_have_seen(expected):
    assert_same_batches(take(batches(Photos(), order=BatchOrder(BATCH, 0, 5)), 3), expected[5:])


def test_the_batch_of_a_step_is_made_without_the_others(expected):
    decoded = []

    class Counted(Photos):
        def __getitem__(self, index: int) -> dict:
            decoded.append(index)
            return super().__getitem__(index)

    found = batches(Counted(), 2, BatchOrder(BATCH, 0, 5), first_only=True)
    assert_same_batches(take(found, 1), expected[5:6])
    assert sorted(decoded) == sorted(expected[5]["index"])


def test_a_process_makes_its_rows_of_the_batch_by_itself(expected):
    """Rows 4 and 5 alone, as the process that holds them does."""
    mesh, lanes, step = Mesh(np.array(jax.devices()[:1]), ("lane",)), Lanes(15, BATCH, 0), 7
    stored = Decoder(Numbered(Photos(), "error"), lanes.samples[4:], STORAGE).decode(0, 3)
    choose, resize, divide = compile_augmentation(mesh, AUGMENTATION, 0)
    rows = np.array([4, 5], np.int32)
    found = divide(resize(*choose(stored, rows, lanes.slots_at(step)[4:], step)), None)
    for key in PIXELS:
        np.testing.assert_array_equal(found[key], expected[step][key][4:])


def test_without_crops_and_flips_the_whole_picture_is_resized():
    plain = Augmentation(8, crop=False, flip=False)
    for batch in take(batches(Photos(), augmentation=plain, size=32), 4):
        for index, mask in zip(batch["index"], batch["mask"].astype(int), strict=True):
            assert np.abs(mask - cv2.resize(Photos()[index]["mask"], (8, 8))).max() <= 1


def test_without_flips_the_crops_are_the_same(expected):
    unflipped = take(batches(Photos(), augmentation=Augmentation(8, flip=False)), 4)
    for other, batch in zip(unflipped, expected, strict=False):
        for row, mask in zip(other["mask"], batch["mask"], strict=True):
            assert (row == mask).all() or (row == mask[:, ::-1]).all()
        assert (other["mask"] != batch["mask"]).any()


def test_photos_are_stored_at_their_own_size_or_shrunk():
    sample = {key: x[:12] for key, x in Photos()[3].items()}
    height, width = sample["mask"].shape
    found = stored_pixels(list(sample.values()), 32)[:, :height, :width].transpose(1, 2, 0)
    np.testing.assert_array_equal(found, np.dstack(list(sample.values())))
    found = stored_pixels(list(sample.values()), 11)
    shrunk = cv2.resize(sample["real"], (11, 11), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_allclose(found[3:6].transpose(1, 2, 0), shrunk, atol=1)


@pytest.mark.parametrize("on_host", [False, True])
def test_too_little_memory_is_said_before_anything_is_decoded(on_host, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 400_000_000)
    with pytest.raises(InputError) as error:
        batches(Numbers(), size=2000, on_host=on_host)
    message = str(error.value)
    assert "\n" not in message
    placement = "host" if on_host else "device"
    assert f"data.placement {placement}: the training set at data.resident_size 2000" in message
    assert re.search(r"needs \d\.\d GB of the host's memory, and 0\.4 GB are free", message)
    assert ("data.placement=host" in message) is not on_host
    side = int(re.search(r"resident_size=(\d+) \(the largest that fits\)", message)[1])
    chunk = 0 if on_host else 256_000_000
    assert 60 * 7 * side**2 <= 400_000_000 < 60 * 7 * (side + 8) ** 2 + chunk


def check_gpus(count: int, limit: float, size: int, reserved: float = 0.0) -> str:
    """iHarmony4 in batches of 16, on so many GPUs that let JAX use `limit` bytes: the error."""
    stats = {"bytes_limit": int(limit), "bytes_in_use": 10**9}
    device = SimpleNamespace(platform="gpu", device_kind="H100", memory_stats=lambda: stats)
    storage, lanes = Storage(size, reserved=int(reserved)), [np.arange(4109)] * 16
    decoder = Decoder(Numbered(Photos(), "error"), lanes, storage)
    try:
        resident_store.check_memory(decoder, [device] * count)
    except InputError as error:
        return str(error)
    return ""


def test_the_owner_of_a_gpu_is_told_what_fits_beside_the_training_step(monkeypatch):
    """80 GB, of which JAX takes three quarters unless it is told otherwise."""
    assert not check_gpus(1, 75e9, 384)
    assert not check_gpus(2, 40e9, 384, reserved=4e9)  # each has half
    assert "needs 34.1 GB of each device's memory" in check_gpus(2, 40e9, 384, reserved=5e9)
    assert not check_gpus(1, 60e9, 336, reserved=5e9)
    message = check_gpus(1, 60e9, 384, reserved=5e9)
    for part in (
        *("data.resident_size 384 needs 68.1 GB of each device's memory (H100)", "beside 5.0 GB"),
        *("59.0 GB are free", "data.resident_size=336 (the largest", "data.placement=stream"),
        "XLA_PYTHON_CLIENT_MEM_FRACTION=0.95",
    ):
        assert part in message
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", ".95")
    assert not check_gpus(1, 75e9, 384, reserved=5e9)
    message = check_gpus(1, 75e9, 384, reserved=6e9)
    assert "beside 6.0 GB for the training step" in message
    assert "XLA_PYTHON" not in message  # there is no more to have


def test_an_unreadable_sample_is_named_or_replaced():
    source = Numbers(damaged=[2]).select(range(18))
    with pytest.raises(InputError, match=r"^sample 2: damaged"):
        batches(source)
    found = take(batches(source, unreadable="skip"), 3)
    assert [batch["unreadable"].tolist() for batch in found] == [[2], [], []]
    assert 2 not in np.concatenate([batch["index"] for batch in found])
