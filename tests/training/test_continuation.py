"""What is said when a training may not continue as its workdir was left."""

from pathlib import Path

import pytest

from harmony_jax import InputError
from harmony_jax.data.splits import open_set
from harmony_jax.training.continuation import check_continuation, training_metadata
from tests.made_data import tiny_config

FOLDER = Path("runs/1/checkpoints/5")


def metadata(root, **fields):
    config = tiny_config(root)
    config.update_from_flattened_dict({key.replace("__", "."): v for key, v in fields.items()})
    return training_metadata(config, open_set(config, "train"))


def test_a_training_that_held_out_by_photo_is_told_how_it_continues(mini_root):
    """By code that knew no `data.validation_by`, and held out though nothing was validated."""
    before = metadata(mini_root, evaluation__every_epochs=0, data__validation_by="photo")
    del before["config"]["data"]["validation_by"]
    now = metadata(mini_root, evaluation__every_epochs=0)
    with pytest.raises(InputError, match=r"10 .* has 14 .*--config\.data\.validation_by=photo"):
        check_continuation(before, now, FOLDER)
    now = metadata(mini_root, evaluation__every_epochs=0, data__validation_by="photo")
    check_continuation(before, now, FOLDER)
    check_continuation(now, now, FOLDER)


def test_a_training_that_began_with_validation_cannot_go_on_without(mini_root):
    before, now = metadata(mini_root), metadata(mini_root, evaluation__every_epochs=0)
    message = r"10 .* has 14 \(it began with evaluation\.every_epochs 2; with 0 nothing is held out"
    with pytest.raises(InputError, match=message):
        check_continuation(before, now, FOLDER)
    check_continuation(before, metadata(mini_root, evaluation__every_epochs=3), FOLDER)
