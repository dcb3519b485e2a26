"""What may change when a training continues."""

import logging
from pathlib import Path

import pytest

from harmony_jax import InputError
from harmony_jax.data.splits import open_set
from harmony_jax.training.continuation import check_continuation, training_metadata
from tests.made_data import Numbers, tiny_config

FOLDER = Path("checkpoints/5")


def metadata(**fields):
    config = tiny_config()
    for name, value in fields.items():
        section, field = name.split("__")
        config[section][field] = value
    return training_metadata(config, Numbers().select([]))


def of_older_code():
    """Metadata of a checkpoint from before there was a choice of schedules and optimizers."""
    found = metadata()
    for field in ("schedule", "warmup_epochs", "final_rate", "batch_rule"):
        del found["config"]["optimizer"][field]
    for field in ("name", "weight_decay", "freeze"):
        del found["config"]["optimizer"][field]
    del found["config"]["train"]["ema_decay"]
    return found


def test_a_training_begun_with_older_code_continues(caplog):
    check_continuation(of_older_code(), metadata(), FOLDER)
    assert not caplog.text


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"train__ema_decay": 0.9}, "train.ema_decay 0.0 where the config has 0.9"),
        ({"optimizer__freeze": ("decoder.*",)}, r"optimizer.freeze \[\] where the config has"),
        ({"optimizer__name": "adamw"}, "optimizer.name adam where the config has adamw"),
    ],
)
def test_but_not_with_another_optimizer_than_it_was_begun_with(fields, message):
    with pytest.raises(InputError, match=f"^checkpoints/5: trained with {message}"):
        check_continuation(of_older_code(), metadata(**fields), FOLDER)


def test_the_schedule_and_the_decay_of_an_average_may_change_which_is_logged(caplog):
    begun, now = metadata(train__ema_decay=0.9), metadata(train__ema_decay=0.99)
    now["config"]["optimizer"]["schedule"] = "cosine"
    with caplog.at_level(logging.WARNING, "harmony_jax"):
        check_continuation(begun, now, FOLDER)
    assert "Continuing with train.ema_decay 0.99 instead of 0.9" in caplog.messages
    assert "Continuing with optimizer.schedule cosine instead of piecewise" in caplog.messages
    with pytest.raises(InputError, match=r"train\.ema_decay 0\.9 where the config has 0\.0"):
        check_continuation(begun, metadata(), FOLDER)


def metadata_of(root, **fields):
    config = tiny_config(root)
    config.update_from_flattened_dict({key.replace("__", "."): v for key, v in fields.items()})
    return training_metadata(config, open_set(config, "train"))


def test_a_training_that_began_with_validation_cannot_go_on_without(mini_root):
    before, now = metadata_of(mini_root), metadata_of(mini_root, evaluation__every_epochs=0)
    message = r"10 .* has 14 \(it began with evaluation\.every_epochs 2; with 0 nothing is held out"
    with pytest.raises(InputError, match=message):
        check_continuation(before, now, FOLDER)
    check_continuation(before, metadata_of(mini_root, evaluation__every_epochs=3), FOLDER)
