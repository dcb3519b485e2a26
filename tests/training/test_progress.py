"""What a person sees of a running training."""

import pytest

from harmony_jax.training.progress import duration, parameter_table
from harmony_jax.variables import split
from tests.made_data import tiny_config
from tests.training.made_model import MadeModel


def test_the_table_shows_what_is_frozen_and_what_learns_at_which_rate():
    params = split(MadeModel())[1].params
    config = tiny_config()
    config.optimizer.freeze = ("backbone.hrnet.conv.*",)
    table = parameter_table(params, config.optimizer)
    assert [line.split() for line in table.splitlines()] == [
        ["part", "arrays", "parameters", "rate"],
        ["backbone.hrnet", "2", "16", "frozen"],
        ["backbone.hrnet", "4", "23", "x", "0.1"],
        ["model.conv", "2", "16", "x", "1"],
        ["model.norm", "2", "8", "x", "1"],
        ["model.out", "2", "15", "x", "1"],
        ["all", "12", "78"],
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.4, "4 s"), (89.0, "89 s"), (600.0, "10 min"), (7300.0, "2 h 02 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
