"""What may change when a training continues."""

import logging
from pathlib import Path

import pytest

from harmony_jax import InputError
from harmony_jax.data.splits import open_set
from harmony_jax.training.continuation import check_continuation, training_metadata
from tests.made_data import Numbers, tiny_config

FOLDER = Path("checkpoints/5")


def test_names_that_are_not_unicode_identify_the_data(monkeypatch):
    source, found = Numbers(), set()
    for letter in ("\udce9", "\udcea"):
        monkeypatch.setattr(source, "name", lambda index, letter=letter: f"{index}{letter}")
        found.add(training_metadata(tiny_config(), source)["data"]["names"])
    assert len(found) == 2


def metadata(root=None, **fields):
    """Of a tiny config with other fields, such as `train__ema_decay`."""
    config = tiny_config(root)
    config.update_from_flattened_dict({key.replace("__", "."): v for key, v in fields.items()})
    return training_metadata(config, open_set(config, "train") if root else Numbers().select([]))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model__channels": 4}, "model.channels 8 where the config has 4"),
        ({"data__image_size": 64, "seed": 3}, "data.image_size 32 .*; seed 0 where the config has"),
        ({"train__batch_size": 2}, "train.batch_size 4 where the config has 2"),
        ({"loss__min_area": 1000.0}, "loss.min_area 100.0 where the config has 1000.0"),
        ({"data__validation_fraction": 0.0}, "data.validation_fraction 0.2"),
        ({"data__random_crop": False}, "data.random_crop True where the config has False"),
        ({"optimizer__name": "adamw"}, "optimizer.name adam where the config has adamw"),
        ({"optimizer__freeze": ("encoder.*",)}, r"optimizer.freeze \[\] where .* \['encoder"),
        ({"train__ema_decay": 0.9}, "train.ema_decay 0.0 where the config has 0.9"),
    ],
)
def test_another_model_data_loss_or_optimizer_is_refused(fields, message):
    with pytest.raises(InputError, match=f"^checkpoints/5: trained with {message}"):
        check_continuation(metadata(), metadata(**fields), FOLDER)


def test_schedule_average_data_and_computation_may_change_which_is_logged(caplog):
    begun = metadata(train__ema_decay=0.9)
    fields = {"model__precision": "highest", "data__num_workers": 3, "data__unreadable": "skip"}
    fields |= {"optimizer__schedule": "cosine", "init__backbone": "x.pth"}
    now = metadata(train__ema_decay=0.99, **fields)
    with caplog.at_level(logging.WARNING, "harmony_jax"):
        check_continuation(begun, now, FOLDER)
    assert "Continuing with train.ema_decay 0.99 instead of 0.9" in caplog.messages
    assert "Continuing with optimizer.schedule cosine instead of piecewise" in caplog.messages
    assert "Continuing with model.precision highest instead of None" in caplog.messages
    assert "init.backbone x.pth is not read" in caplog.text
    with pytest.raises(InputError, match=r"train\.ema_decay 0\.9 where the config has 0\.0"):
        check_continuation(begun, metadata(), FOLDER)


def test_a_field_that_only_one_version_of_the_code_has_is_not_compared(caplog):
    begun, now = metadata(), metadata()
    begun["config"]["data"]["gone"] = 1
    del begun["config"]["optimizer"]["batch_rule"]
    check_continuation(begun, now, FOLDER)
    assert not caplog.text


def test_a_training_that_began_with_validation_cannot_go_on_without(mini_root):
    before, now = metadata(mini_root), metadata(mini_root, evaluation__every_epochs=0)
    message = r"10 .* has 14 \(it began with evaluation\.every_epochs 2"
    with pytest.raises(InputError, match=message):
        check_continuation(before, now, FOLDER)
    check_continuation(before, metadata(mini_root, evaluation__every_epochs=3), FOLDER)


def test_other_files_are_refused_though_they_are_as_many():
    before, now = metadata(), metadata()
    now["data"] = {"samples": 0, "names": 1}
    with pytest.raises(InputError, match=r"0 training samples where data\.root has 0 others"):
        check_continuation(before, now, FOLDER)
