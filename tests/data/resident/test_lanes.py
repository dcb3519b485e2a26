import numpy as np
import pytest

from harmony_jax.data.resident.lanes import Lanes


@pytest.mark.parametrize(("count", "batch_size"), [(60, 12), (61, 12), (71, 12), (12, 12), (5, 1)])
def test_every_sample_is_in_one_lane_and_lanes_differ_by_one_at_most(count, batch_size):
    lanes = Lanes(count, batch_size, seed=0)
    assert sorted(np.concatenate(lanes.samples).tolist()) == list(range(count))
    lengths = [len(lane) for lane in lanes.samples]
    assert len(lengths) == batch_size
    assert max(lengths) <= min(lengths) + 1


@pytest.mark.parametrize("count", [60, 64])
def test_every_lane_visits_its_samples_once_a_pass_in_another_order(count):
    lanes = Lanes(count, 12, seed=0)
    steps = np.stack([lanes.slots_at(step) for step in range(24)])
    orders = set()
    for row, samples in enumerate(lanes.samples):
        first, second = np.split(steps[: 2 * len(samples), row], 2)
        assert sorted(first) == sorted(second) == list(range(len(samples)))
        orders |= {tuple(first), tuple(second)}
    assert len(orders) > 18  # of 24, out of 120 orders of five and 720 of six


def test_a_step_does_not_depend_on_those_before_it():
    lanes = Lanes(64, 12, seed=3)
    expected = [lanes.slots_at(step) for step in range(20)]
    for step in (17, 4, 11):
        np.testing.assert_array_equal(Lanes(64, 12, seed=3).slots_at(step), expected[step])
        np.testing.assert_array_equal(lanes.slots_at(step), expected[step])


def test_the_seed_decides_dealing_and_order():
    one, other = Lanes(64, 2, seed=0), Lanes(64, 2, seed=1)
    assert one.samples[0].tolist() != other.samples[0].tolist()
    assert [one.slots_at(n)[0] for n in range(32)] != [other.slots_at(n)[0] for n in range(32)]
