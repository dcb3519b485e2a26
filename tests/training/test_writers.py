"""What a person sees of a training, in TensorBoard and through a writer of their own."""

import json
import re
import struct
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from harmony_jax import InputError
from harmony_jax.training.loop import train
from harmony_jax.training.writers import TensorBoardWriter, Writer
from tests.made_data import tiny_config


def test_a_field_that_is_not_unicode_is_written(tmp_path):
    writer = TensorBoardWriter(tmp_path, 0)
    writer.hyperparameters({"data.root": "caf\udce9"}, ["train/loss"])
    writer.close()
    (events,) = tmp_path.iterdir()
    assert b"caf\\udce9" in events.read_bytes()


class Recorder:
    """The least that a writer has to be."""

    def __init__(self):
        self.scalars, self.images, self.texts, self.closed = {}, {}, {}, 0

    def scalar(self, name, value, step):
        self.scalars[name, step] = value

    def image(self, name, pixels, step):
        self.images[name, step] = pixels

    def text(self, name, text, step):
        self.texts[name, step] = text

    def close(self):
        self.closed += 1


def events(folder) -> list[Event]:
    """All of a folder's event files: each record is its length, a checksum, itself, a checksum."""
    found = []
    for path in sorted(folder.glob("events.*")):
        data, start = path.read_bytes(), 0
        while start < len(data):
            (length,) = struct.unpack_from("<Q", data, start)
            found.append(Event.FromString(data[start + 12 : start + 12 + length]))
            start += 16 + length
    return found


def hyperparameters(found: list[Event]) -> HParamsPluginData:
    values = [value for event in found for value in event.summary.value]
    (start,) = [value for value in values if value.tag == "_hparams_/session_start_info"]
    return HParamsPluginData.FromString(start.metadata.plugin_data.content)


@pytest.fixture(scope="module")
def seen(mini_root, tmp_path_factory):
    """A training with a moving average, seen by a recorder, with a trace of step 12."""
    config, workdir, recorder = tiny_config(mini_root), tmp_path_factory.mktemp("seen"), Recorder()
    config.data.validation_fraction = 0.0  # so that the evaluated set is the test set
    config.evaluation.every_epochs = 4
    config.train.ema_decay = 0.9
    config.profile = 1
    train(config, workdir, [recorder])
    return workdir, recorder


def test_a_writer_gets_curves_pictures_and_what_describes_the_run(seen):
    _, recorder = seen
    for name in ("loss", "gradient_norm", "parameter_norm", "update_norm", "learning_rate"):
        assert recorder.scalars[f"train/{name}", 14] > 0
    assert recorder.images["evaluation/examples", 14].shape[2] == 3
    assert recorder.images["evaluation/examples", 14].dtype == np.uint8
    assert "train.ema_decay = 0.9" in recorder.texts["config", 0].splitlines()
    assert "encoder.block0" in recorder.texts["model", 0]
    assert recorder.closed == 1


def test_a_writer_is_closed_though_nothing_was_trained(tmp_path):
    recorder = Recorder()
    with pytest.raises(InputError, match=r"data\.root"):
        train(tiny_config(tmp_path / "nowhere"), tmp_path, [recorder])
    assert recorder.closed == 1


def test_validation_sees_the_average_that_inference_loads(seen):
    workdir, recorder = seen
    loaded = json.loads((workdir / "evaluation.json").read_text())["model"]["All"]
    for name in ("MSE", "fMSE", "PSNR"):
        np.testing.assert_allclose(
            recorder.scalars[f"evaluation/{name}_model", 14], loaded[name], rtol=1e-5
        )


def test_tensorboard_has_the_same_and_the_hyperparameters(seen):
    workdir, recorder = seen
    found = events(workdir / "tensorboard")
    tags = {value.tag for event in found for value in event.summary.value}
    assert {name for name, _ in recorder.scalars} <= tags
    assert "evaluation/examples" in tags
    assert "config/text_summary" in tags
    values = hyperparameters(found).session_start_info.hparams
    assert values["train.ema_decay"].number_value == 0.9
    assert values["model.name"].string_value == "improved_dih256"


def test_a_trace_says_which_step_is_which(seen):
    workdir, _ = seen
    (trace,) = (workdir / "tensorboard" / "plugins" / "profile").glob("*/*.xplane.pb")
    assert b"step_num" in trace.read_bytes()


def test_the_writer_in_the_documents_is_one():
    """With a stand-in for the service's package."""
    document = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    code = re.search(r"^class Wandb:.*?(?=^if __name__)", document, re.DOTALL | re.MULTILINE)[0]
    assert len(code.split("\n\n")) > 4
    service = MagicMock()
    names = {"wandb": service}
    exec(code, names)
    writer = names["Wandb"](project="harmony")
    assert isinstance(writer, Writer)
    writer.scalar("train/loss", 2.5, 7)
    writer.image("evaluation/examples", np.zeros((2, 2, 3), np.uint8), 8)
    writer.text("config", "a = 1", 0)
    writer.close()
    run = service.init(project="harmony")
    run.log.assert_any_call({"train/loss": 2.5}, step=7)
    run.log.assert_any_call({"evaluation/examples": service.Image()}, step=8)
    run.finish.assert_called_once_with()


def test_what_is_written_on_continuing_is_not_void_at_the_next_time(tmp_path):
    """A file begins by voiding what earlier ones say of the step after its first, and later."""
    found = []
    for number, start in enumerate((5, 5, 8)):  # a file's name is the second that it was made in
        writer = TensorBoardWriter(tmp_path / str(number), start)
        writer.text("config", "a = 1\nb = 2", start)
        writer.hyperparameters({"a": (1, 2), "b": True}, ["train/loss"])
        writer.scalar("train/loss", 1.0, start + 1)
        writer.close()
        found += events(tmp_path / str(number))
    voided = [event.step for event in found if event.HasField("session_log")]
    assert voided == [6, 6, 9]
    texts = [e for e in found for v in e.summary.value if v.tag == "config/text_summary"]
    assert [event.step for event in texts] == [5, 5, 8]
    assert b"    a = 1\n    b = 2" in texts[0].summary.value[0].tensor.string_val[0]
    starts = [e for e in found for v in e.summary.value if "session_start_info" in v.tag]
    assert [event.step for event in starts] == [0, 0, 0]
