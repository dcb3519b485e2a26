import itertools
import multiprocessing

import grain
import numpy as np
import pytest

from harmony_jax import InputError
from harmony_jax.data import pipeline
from harmony_jax.data.batching import Augmentation, BatchOrder, Share
from harmony_jax.data.pipeline import close_batches, training_batches
from harmony_jax.data.splits import open_split
from harmony_jax.data.transforms import Resize
from tests.data.test_sources import Numbers
from tests.made_data import tiny_config


def numbers(batches, count: int) -> list[list[int]]:
    """Which samples the next batches hold; `Numbers` fills sample i with the value i."""
    return [next(batches)["composite"][:, 0, 0, 0].tolist() for _ in range(count)]


def training(start_step=0, num_workers=0, seed=0, process=(0, 1)):
    return training_batches(
        Numbers(),
        Augmentation(4),
        BatchOrder(8, seed, start_step),
        num_workers,
        Share(*process),
    )


def test_every_epoch_visits_every_sample_once_in_another_order():
    seen = [n for batch in numbers(training(), 15) for n in batch]  # 120 samples: two epochs
    assert sorted(seen[:60]) == sorted(seen[60:]) == list(range(60))
    assert seen[:60] != seen[60:] != list(range(60))


@pytest.mark.parametrize("missing", ["_del_thread_pool", "SharedMemoryArray"])
def test_closing_needs_nothing_private_of_grain(monkeypatch, missing):
    owner = grain.multiprocessing
    if missing == "_del_thread_pool":
        owner = owner.SharedMemoryArray
    monkeypatch.delattr(owner, missing)
    batches = training()
    next(batches)
    close_batches(batches)


def test_training_continues_with_the_batch_it_would_have_seen():
    whole, later = training(), training(start_step=5)
    for _ in range(5):
        next(whole)
    for _ in range(6):
        expected, found = next(whole), next(later)
        for key in ("composite", "real", "mask"):
            np.testing.assert_array_equal(found[key], expected[key])


def test_processes_share_the_batches_of_one_process():
    whole = numbers(training(), 9)
    first, second = (numbers(training(process=(index, 2)), 9) for index in range(2))
    for batch, one, two in zip(whole, first, second, strict=True):
        assert sorted(one + two) == sorted(batch)
        assert len(one) == 4


def test_augmentation_can_be_switched_off():
    source, order = Ramps(), BatchOrder(4, seed=0)
    plain = next(training_batches(source, Augmentation(32, crop=False, flip=False), order, 0))
    whole = Resize(32).map(source[0])
    np.testing.assert_array_equal(plain["real"], [whole["real"]] * 4)
    augmented = next(training_batches(source, Augmentation(32), order, 0))
    assert len({row.tobytes() for row in augmented["real"]}) == 4


class Ramps(Numbers):
    """Sixty times one picture, whose grey level tells the column."""

    def __getitem__(self, index: int) -> dict:
        ramp = np.tile(np.arange(100, dtype=np.uint8), (90, 1))
        photo = np.repeat(ramp[..., None], 3, -1)
        return {"composite": photo, "real": photo, "mask": np.full_like(ramp, 255)}


def test_the_seed_decides_order():
    assert numbers(training(seed=1), 4) != numbers(training(), 4)


def test_fewer_samples_than_a_batch():
    with pytest.raises(InputError, match=r"train\.batch_size 64.*60 samples"):
        training_batches(Numbers(), Augmentation(4), BatchOrder(64, seed=0), 0)


def test_sets_of_a_config(mini_root):
    data = tiny_config(mini_root).data
    assert {split: len(open_split(data, split)) for split in ("train", "validation", "test")} == {
        "train": 10,  # 14 less the composites of 2 of 8 photos
        "validation": 4,
        "test": 6,
    }


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("name", "coco", r"data\.name 'coco'"), ("validation_fraction", 1.5, r"fraction 1\.5")],
)
def test_fields_that_cannot_be(mini_root, field, value, message):
    data = tiny_config(mini_root).data
    data[field] = value
    with pytest.raises(InputError, match=message):
        open_split(data, "train")


def test_an_unknown_split(mini_root):
    with pytest.raises(InputError, match=r"split 'holdout': choose 'train'"):
        open_split(tiny_config(mini_root).data, "holdout")


def test_a_damaged_file_in_a_worker_process_is_named(tmp_path):
    from tests.made_data import write_iharmony4

    write_iharmony4(tmp_path, train=8, test=4)
    config = tiny_config(tmp_path)
    photo = tmp_path / "HCOCO" / "real_images" / "train000.jpg"
    source = open_split(config.data, "train")
    photo.write_bytes(photo.read_bytes()[:-50])
    batches = training_batches(source, Augmentation(32), BatchOrder(4, seed=0), num_workers=1)
    with pytest.raises(InputError, match=r"train000\.jpg: damaged JPEG"):
        list(itertools.islice(batches, 4))
    batches.close()


def test_a_killed_worker_is_one_line():
    batches = training_batches(Numbers(), Augmentation(4), BatchOrder(8, seed=0), num_workers=1)
    next(batches)
    (worker,) = multiprocessing.active_children()
    worker.kill()
    with pytest.raises(InputError, match=r"^a data worker was killed, perhaps for want of memory"):
        list(batches)
    close_batches(batches)


def test_one_worker_for_each_core_however_many_there_are(monkeypatch):
    class StartedError(Exception):
        pass

    def started(num_workers, **_):
        raise StartedError(num_workers)

    monkeypatch.setattr(pipeline, "usable_cores", lambda: 224)
    monkeypatch.setattr(grain, "MultiprocessingOptions", started)
    with pytest.raises(StartedError, match=r"^224$"):
        training(num_workers=-1)
