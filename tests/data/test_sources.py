import pytest

from harmony_jax import InputError
from harmony_jax.data.sources import Numbered
from tests.made_data import Numbers


def test_the_next_readable_sample_takes_an_unreadable_ones_place():
    source = Numbers(damaged=[index for index in range(60) if index % 20])
    samples = Numbered(source, "skip")
    for index, found, unreadable in ((20, 20, -1), (18, 20, 18), (59, 0, 59)):
        sample = samples[index]
        assert sample["mask"][0, 0] == sample["index"] == found
        assert sample["unreadable"] == unreadable
    with pytest.raises(InputError, match=r"16 samples in a row.* 17: damaged"):
        samples[2]
    with pytest.raises(InputError, match=r"^sample 18: damaged; or set data\.unreadable to skip"):
        Numbered(source, "error")[18]
