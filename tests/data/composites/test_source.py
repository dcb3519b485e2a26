import json

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

from harmony_jax import InputError
from harmony_jax.data.batching import Augmentation, BatchOrder
from harmony_jax.data.composites.photo_set import PhotoSet
from harmony_jax.data.composites.recipe import Recipe
from harmony_jax.data.composites.source import PhotosSource
from harmony_jax.data.pipeline import training_batches
from harmony_jax.data.resident.batches import ResidentBatches, share_statistics
from harmony_jax.data.resident.store import Storage
from harmony_jax.data.sources import Numbered
from harmony_jax.devices import mesh as meshes
from harmony_jax.training.loop import train
from tests.data.composites.made_photo import RECIPE
from tests.made_data import assert_same_batches, take, tiny_config, write_photos

ALWAYS = Recipe(**{**RECIPE, "unchanged": 0.0})
BATCH, SIZE = 4, 32
ORDER = BatchOrder(BATCH, seed=0)
AUGMENTATION = Augmentation(SIZE)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder, 11, (60, 50))
    return folder


@pytest.fixture
def source(root) -> PhotosSource:
    return PhotosSource(PhotoSet(str(root)), ALWAYS)


def resident(source, devices=1, start_step=0, first_only=False, **storage) -> ResidentBatches:
    samples, order = Numbered(source, "error"), ORDER._replace(start_step=start_step)
    storage, mesh = Storage(64)._replace(**storage), meshes.mesh_of(jax.devices()[:devices])
    return ResidentBatches(samples, AUGMENTATION, order, mesh, storage, first_only)


def streamed(source, start_step=0, num_workers=0):
    order = ORDER._replace(start_step=start_step)
    return training_batches(Numbered(source, "error"), AUGMENTATION, order, num_workers)


def test_a_composite_is_fixed_by_its_name_and_the_seed(root, source):
    again = PhotosSource(PhotoSet(str(root)), ALWAYS)
    other = PhotosSource(PhotoSet(str(root)), ALWAYS, seed=1)
    for index in (0, 7):
        sample = source[index]
        assert sample["composite"].shape == sample["real"].shape == (60, 50, 3)
        for key, pixels in sample.items():
            np.testing.assert_array_equal(again[index][key], pixels)
        assert (other[index]["composite"] != sample["composite"]).any()
    chosen = source.select([7, 2])
    assert [chosen.name(index) for index in range(2)] == [source.name(7), source.name(2)]
    np.testing.assert_array_equal(chosen[0]["composite"], source[7]["composite"])


def test_one_object_alone_has_nobody_to_take_colours_of(tmp_path):
    write_photos(tmp_path, 1)
    with pytest.raises(InputError, match=r"only one object, images/photo0_1\.png") as error:
        PhotosSource(PhotoSet(str(tmp_path)), ALWAYS)
    assert "\n" not in str(error.value)
    retouched = Recipe(**{**RECIPE, "reinhard": 0.0, "linear": 0.0, "histogram": 0.0})
    assert len(PhotosSource(PhotoSet(str(tmp_path)), retouched)) == 1


@pytest.mark.parametrize("make", [streamed, resident])
def test_each_step_recolours_anew_and_the_background_alone_stays(make, source):
    batches = take(make(source), 8)
    composites: dict[int, list[np.ndarray]] = {}
    for batch in batches:
        assert batch["composite"].shape == (BATCH, SIZE, SIZE, 3)
        assert batch["mask"].shape == (BATCH, SIZE, SIZE)
        for row, index in enumerate(batch["index"].tolist()):
            real, composite = batch["real"][row].astype(int), batch["composite"][row]
            # A mask's edge may lie up to 2 pixels beside the region's.
            changed = np.abs(composite - real).max(-1) > 1
            assert changed.mean() < 0.5
            composites.setdefault(index, []).append(composite[changed])
    assert len(composites) > 6
    assert np.mean([len(pixels) > 0 for found in composites.values() for pixels in found]) > 0.9
    means = [pixels.mean(0) for pixels in composites[0] if len(pixels)]
    assert np.ptp(means, axis=0).max() > 5


@pytest.mark.parametrize("make", [streamed, resident])
def test_training_continues_with_the_composites_it_would_have_seen(make, source):
    assert_same_batches(take(make(source, start_step=3), 3), take(make(source), 6)[3:])


@pytest.mark.parametrize(("devices", "on_host"), [(2, False), (1, True)])
def test_composites_are_the_same_on_any_devices_and_in_any_memory(devices, on_host, source):
    found = take(resident(source, devices, on_host=on_host), 4)
    assert_same_batches(found, take(resident(source), 4))


def test_workers_make_what_threads_make(source):
    assert_same_batches(take(streamed(source, num_workers=2), 3), take(streamed(source), 3))


def test_the_batch_of_a_step_is_made_without_the_others(source):
    found = take(resident(source, 2, start_step=2, first_only=True), 1)
    assert_same_batches(found, take(resident(source), 3)[2:])


def test_processes_give_each_other_the_colours_of_what_they_decode(root, monkeypatch):
    one, other = (PhotosSource(PhotoSet(str(root)), ALWAYS).raw() for _ in "ab")
    tables = []
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(
        multihost_utils,
        "process_allgather",
        lambda own: tables.append(own) or jax.tree.map(lambda *x: np.stack(x), tables[0], own),
    )
    share_statistics(one, [0, 3, 5])
    share_statistics(other, [1, 2])
    read = []
    monkeypatch.setattr(PhotoSet, "__getitem__", lambda self, index: read.append(index))
    for index in (0, 1, 2, 3, 5):
        expected = (one if index in (0, 3, 5) else other).statistics(index)
        for value, found in zip(expected, other.statistics(index), strict=True):
            np.testing.assert_array_equal(found, value)
    assert not read


def test_photos_train_a_model_to_the_end(root, tmp_path):
    config = tiny_config(root)
    config.data.name = "photos"
    config.data.validation_fraction = 0.3
    config.data.placement = "host"
    config.data.resident_size = 40
    config.train.epochs = 2
    train(config, tmp_path)
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert found["model"]["All"]["N"] == 4
