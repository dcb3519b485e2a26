import re
import time
from types import SimpleNamespace

import cv2
import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from harmony_jax import InputError
from harmony_jax.data.batching import Augmentation, BatchOrder, Reading
from harmony_jax.data.iharmony4 import IHarmony4Source
from harmony_jax.data.resident import memory
from harmony_jax.data.resident import store as resident_store
from harmony_jax.data.resident.batches import (
    DeviceAugmentation,
    ResidentBatches,
    compile_augmentation,
)
from harmony_jax.data.resident.lanes import Lanes
from harmony_jax.data.resident.store import Decoder, stored_pixels
from harmony_jax.data.sources import Numbered
from harmony_jax.devices import mesh as meshes
from tests.data.test_sources import Numbers
from tests.made_data import SUBSETS, write_iharmony4

BATCH = 6
AUGMENTATION = Augmentation(8)
READING = Reading(num_workers=0, placement="device", stored_size=16)


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
    source, devices=1, start_step=0, seed=0, augmentation=AUGMENTATION, **reading
) -> ResidentBatches:
    order = BatchOrder(BATCH, seed, start_step)
    reading = READING._replace(**reading)
    return ResidentBatches(source, augmentation, order, mesh_of(devices), reading)


def take(iterator: ResidentBatches, count: int) -> list[dict[str, np.ndarray]]:
    taken = [jax.device_get(next(iterator).arrays) for _ in range(count)]
    iterator.close()
    return taken


def assert_same(found, expected) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


@pytest.fixture(scope="module")
def expected() -> list[dict[str, np.ndarray]]:
    return take(batches(Photos()), 8)


def test_every_epoch_visits_every_sample_once_in_another_order():
    found = take(batches(Numbers()), 20)  # 120 samples: two epochs
    seen = np.concatenate([batch["index"] for batch in found])
    assert sorted(seen[:60]) == sorted(seen[60:]) == list(range(60))
    assert seen[:60].tolist() != seen[60:].tolist()
    for batch in found:
        for key in ("composite", "real", "mask"):  # `Numbers` fills sample i with the value i
            assert batch[key].dtype == np.uint8
            assert batch[key].shape[:3] == (BATCH, 8, 8)
            np.testing.assert_array_equal(batch[key].reshape(BATCH, -1).max(1), batch["index"])
            np.testing.assert_array_equal(batch[key].reshape(BATCH, -1).min(1), batch["index"])


@pytest.mark.parametrize(("devices", "placement"), [(2, "device"), (1, "host"), (2, "host")])
def test_batches_are_the_same_on_any_devices_and_in_any_memory(devices, placement, expected):
    assert_same(take(batches(Photos(), devices, placement=placement), 8), expected)


def test_batches_are_sharded_as_the_mesh_says():
    batch = next(batches(Photos(), devices=2)).arrays
    for array in batch.values():
        assert array.sharding == meshes.sharded(mesh_of(2))
        assert [len(shard.data) for shard in array.addressable_shards] == [3, 3]


def test_all_three_pictures_get_the_same_crop_and_flip(expected):
    for batch in expected:
        np.testing.assert_allclose(batch["composite"], 255 - batch["real"].astype(int), atol=1)
        np.testing.assert_array_equal(batch["composite"][..., 0], batch["mask"])


def test_no_two_passes_crop_alike(expected):
    crops = {batch["mask"].tobytes() for batch in expected}
    of_one = {row.tobytes() for b in expected for row in b["mask"][b["index"] == 0]}
    assert len(crops) == len(expected)
    assert len(of_one) == sum((batch["index"] == 0).sum() for batch in expected) > 1


def test_training_continues_with_the_batch_it_would_have_seen(expected):
    assert_same(take(batches(Photos(), start_step=5), 3), expected[5:])


def test_the_batch_of_a_step_is_made_without_the_others(expected):
    decoded = []

    class Counted(Photos):
        def __getitem__(self, index: int) -> dict:
            decoded.append(index)
            return super().__getitem__(index)

    order = BatchOrder(BATCH, seed=0, start_step=5)
    found = ResidentBatches.first_rows(Counted(), AUGMENTATION, order, mesh_of(2), READING)
    assert_same([found], expected[5:6])
    assert sorted(decoded) == sorted(expected[5]["index"])


def test_another_seed_gives_other_batches(expected):
    found = take(batches(Photos(), seed=1), 1)[0]
    assert found["index"].tolist() != expected[0]["index"].tolist()


def test_a_process_makes_its_rows_of_the_batch_by_itself(expected):
    """Rows 4 and 5 alone, as the process that holds them does."""
    mesh, lanes, step = Mesh(np.array(jax.devices()[:1]), ("lane",)), Lanes(15, BATCH, 0), 7
    decoder = Decoder(Photos(), lanes.samples[4:], READING)
    stored = decoder.empty(lanes.slots)
    decoder.fill(stored)
    choose, resize, divide = compile_augmentation(mesh, AUGMENTATION, 0)
    rows = np.array([4, 5], np.int32)
    pixels, at_rows, at_columns, index = choose(stored, rows, lanes.slots_at(step)[4:], step)
    found = divide(resize(pixels, at_rows, at_columns), None)
    assert_same([{**found, "index": index}], [{k: v[4:] for k, v in expected[step].items()}])


def test_nothing_is_communicated():
    augmentation = DeviceAugmentation(AUGMENTATION, BatchOrder(BATCH, seed=0), mesh_of(2))
    stored = Decoder(Photos(), [np.arange(3)] * BATCH, READING).empty(3)
    stored, rows = jax.device_put((stored, np.arange(BATCH, dtype=np.int32)), augmentation.sharding)
    arguments = (stored, rows, rows, np.int32(0))
    for program in compile_augmentation(augmentation.sharding.mesh, AUGMENTATION, 0):
        text = program.lower(*arguments).compile().as_text()
        assert "num_partitions=2" in text
        assert not re.search(
            r"(all|collective|reduce|send|recv)-", text.replace("reduce-window", "")
        )
        result = program(*arguments)
        arguments = result[:3] if isinstance(result, tuple) else (result, None)


@pytest.mark.parametrize("flip", [True, False])
def test_without_crops_the_whole_picture_is_resized(flip, expected):
    uncropped = Augmentation(8, crop=False, flip=flip)
    found = take(batches(Photos(), augmentation=uncropped, stored_size=32), 4)
    flips = 0
    for batch, cropped in zip(found, expected, strict=False):
        np.testing.assert_array_equal(batch["index"], cropped["index"])
        for index, mask in zip(batch["index"], batch["mask"].astype(int), strict=True):
            whole = cv2.resize(Photos()[index]["mask"], (8, 8)).astype(int)
            flipped = np.abs(mask[:, ::-1] - whole).max() <= 1
            assert flipped or np.abs(mask - whole).max() <= 1
            flips += flipped
    assert (4 < flips < 20) if flip else flips == 0


def test_without_flips_the_crops_are_the_same(expected):
    unflipped = take(batches(Photos(), augmentation=Augmentation(8, flip=False)), 4)
    for other, batch in zip(unflipped, expected, strict=False):
        for row, mask in zip(other["mask"], batch["mask"], strict=True):
            assert (row == mask).all() or (row == mask[:, ::-1]).all()
        assert (other["mask"] != batch["mask"]).any()


def test_photos_are_stored_at_their_own_size_or_shrunk(expected):
    sample = {key: x[:12] for key, x in Photos()[3].items()}
    height, width = sample["mask"].shape
    found = stored_pixels(list(sample.values()), 32)
    np.testing.assert_array_equal(
        found[:3, :height, :width].transpose(1, 2, 0), sample["composite"]
    )
    np.testing.assert_array_equal(found[3:6, :height, :width].transpose(1, 2, 0), sample["real"])
    np.testing.assert_array_equal(found[6, :height, :width], sample["mask"])
    found = stored_pixels(list(sample.values()), 11)
    shrunk = cv2.resize(sample["real"], (11, 11), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_allclose(found[3:6].transpose(1, 2, 0), shrunk, atol=1)


def test_samples_reach_the_devices_in_parts(monkeypatch, expected):
    monkeypatch.setattr(resident_store, "_CHUNK_BYTES", 2 * BATCH * 7 * 16**2)  # 2 of 3 slots
    assert_same(take(batches(Photos(), devices=2), 8), expected)


@pytest.mark.parametrize("placement", ["device", "host"])
def test_too_little_memory_is_said_before_anything_is_decoded(placement, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 400_000_000)
    with pytest.raises(InputError) as error:
        batches(Numbers(), stored_size=2000, placement=placement)
    message = str(error.value)
    assert "\n" not in message
    assert f"data.placement {placement}: the training set at data.resident_size 2000" in message
    assert re.search(r"needs \d\.\d GB of the host's memory, of which 0\.4 GB are free", message)
    assert message.endswith("--config.data.placement=stream")
    side = int(re.search(r"resident_size=(\d+) \(the largest that fits\)", message)[1])
    chunk = 256_000_000 if placement == "device" else 0
    assert 60 * 7 * side**2 <= 400_000_000 < 60 * 7 * (side + 8) ** 2 + chunk


def check_gpus(count: int, limit: float, stored_size: int, reserved: float = 0.0) -> None:
    """iHarmony4 in batches of 16, on so many GPUs that let JAX use `limit` bytes each."""
    stats = {"bytes_limit": int(limit), "bytes_in_use": 10**9}
    device = SimpleNamespace(platform="gpu", device_kind="H100", memory_stats=lambda: stats)
    reading = Reading(0, "device", stored_size, reserved=int(reserved))
    decoder = Decoder(Photos(), [np.arange(4109)] * 16, reading)
    resident_store.check_device_memory(decoder, 4109, [device] * count)


def test_the_owner_of_a_gpu_is_told_what_fits_beside_the_training_step():
    """80 GB, of which JAX takes three quarters unless it is told otherwise."""
    check_gpus(1, 75e9, 384)
    check_gpus(1, 60e9, 336, reserved=5e9)
    with pytest.raises(InputError) as error:
        check_gpus(1, 60e9, 384, reserved=5e9)
    assert str(error.value) == (
        "data.placement device: the training set at data.resident_size 384 needs 68.1 GB of each "
        "device's memory (H100) beside 5.0 GB for the training step, of which 59.0 GB are free: "
        "use more devices, or pass --config.data.resident_size=336 (the largest that fits), or the "
        "environment variable XLA_PYTHON_CLIENT_MEM_FRACTION=0.95 (now 0.75), with which "
        "resident_size 384 fits, or --config.data.placement=host, or --config.data.placement=stream"
    )


def test_the_training_step_counts(monkeypatch):
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", ".95")
    check_gpus(1, 75e9, 384, reserved=5e9)
    with pytest.raises(InputError, match=r"beside 6\.0 GB for the training step") as error:
        check_gpus(1, 75e9, 384, reserved=6e9)
    assert "XLA_PYTHON" not in str(error.value)  # there is no more to have


def test_each_accelerator_needs_memory_for_its_share_alone():
    check_gpus(2, 40e9, 384, reserved=4e9)
    with pytest.raises(InputError, match=r"needs 34\.1 GB of each device's memory"):
        check_gpus(2, 40e9, 384, reserved=5e9)


@pytest.mark.parametrize("placement", ["device", "host"])
def test_decoding_can_be_ended_at_any_sample(placement):
    class EndedError(Exception):
        pass

    decoded = []

    class Slow(Numbers):
        def __getitem__(self, index: int) -> dict:
            decoded.append(index)
            time.sleep(0.01)
            return super().__getitem__(index)

    def check():
        if len(decoded) > 5:
            raise EndedError

    with pytest.raises(EndedError):
        batches(Slow(), placement=placement, check=check)
    assert len(decoded) < 15  # of 60


@pytest.mark.parametrize("placement", ["device", "host"])
def test_a_damaged_file_is_named_or_replaced(placement, tmp_path):
    write_iharmony4(tmp_path, train=8, test=4)
    photo = tmp_path / "HCOCO" / "composite_images" / "train001_1_0.jpg"
    photo.write_bytes(photo.read_bytes()[:-50])
    source = IHarmony4Source(str(tmp_path), "train", SUBSETS)
    with pytest.raises(InputError, match=r"train001_1_0\.jpg: damaged JPEG"):
        batches(source, placement=placement)
    replaced = batches(Numbered(source, "skip"), placement=placement)
    assert replaced.unreadable == [2]
    assert 2 not in np.concatenate([batch["index"] for batch in take(replaced, 3)])
