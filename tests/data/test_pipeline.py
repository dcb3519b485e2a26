import multiprocessing

import numpy as np
import pytest

from harmony_jax import InputError
from harmony_jax.data import pipeline
from harmony_jax.data.batching import Augmentation, BatchOrder
from harmony_jax.data.pipeline import Batches, training_batches
from harmony_jax.data.sources import Numbered
from tests.made_data import Numbers


def training(start_step=0, num_workers=0, seed=0, process=(0, 1), source=None) -> Batches:
    samples = Numbered(source or Numbers(), "error")
    order = BatchOrder(8, seed, start_step)
    return training_batches(samples, Augmentation(4), order, num_workers, process)


def numbers(batches: Batches, count: int) -> list[list[int]]:
    """Which samples the next batches hold; `Numbers` fills sample i with the value i."""
    found = [next(batches)["composite"][:, 0, 0, 0].tolist() for _ in range(count)]
    batches.close()
    return found


def test_every_epoch_visits_every_sample_once_in_another_order():
    batches = numbers(training(), 15)
    seen = [n for batch in batches for n in batch]  # 120 samples: two epochs
    assert sorted(seen[:60]) == sorted(seen[60:]) == list(range(60))
    assert seen[:60] != seen[60:] != list(range(60))
    assert numbers(training(seed=1), 4) != batches[:4]


def test_training_continues_with_the_batch_it_would_have_seen():
    whole, later = training(), training(start_step=5)
    for _ in range(5):
        next(whole)
    for _ in range(6):
        expected, found = next(whole), next(later)
        assert expected.keys() == {"composite", "real", "mask", "index", "unreadable"}
        for key, value in expected.items():
            np.testing.assert_array_equal(found[key], value)


def test_processes_share_the_batches_of_one_process():
    whole = numbers(training(), 9)
    first, second = (numbers(training(process=(index, 2)), 9) for index in range(2))
    for batch, one, two in zip(whole, first, second, strict=True):
        assert sorted(one + two) == sorted(batch)
        assert len(one) == 4


def test_an_error_in_a_worker_process_is_raised_here():
    batches = training(num_workers=1, source=Numbers(damaged=range(60)))
    with pytest.raises(InputError, match=r"sample \d+: damaged"):
        next(batches)
    batches.close()


def test_a_killed_worker_is_one_line(monkeypatch):
    monkeypatch.setattr(pipeline, "usable_cores", lambda: 1)
    batches = training(num_workers=-1)  # one for each core
    next(batches)
    (worker,) = multiprocessing.active_children()
    worker.kill()
    with pytest.raises(InputError, match=r"^a data worker was killed.*data\.num_workers"):
        list(batches)
    batches.close()


@pytest.mark.parametrize(
    ("memory", "files", "expected", "said"),
    [
        (None, None, (8, 2), ""),
        (8 << 30, 4096, (8, 2), ""),
        (44 << 20, 4096, (8, 1), ""),  # each reads less ahead
        (20 << 20, 4096, (3, 1), "enough for 3 of 8 data workers: give /dev/shm more"),
        (4 << 20, 4096, (0, 1), "enough for 0 of 8 data workers, so threads decode"),
        (None, 64 + 44 * 5, (5, 2), "enough for 5 of 8 data workers: raise the limit"),
    ],
)
def test_workers_are_those_that_the_host_allows(memory, files, expected, said, monkeypatch, caplog):
    monkeypatch.setattr(pipeline.host_limits, "free_shared_memory", lambda: memory)
    monkeypatch.setattr(pipeline.host_limits, "free_files", lambda: files)
    assert pipeline._affordable(8, 1 << 20) == expected
    assert said in caplog.text if said else not caplog.text
