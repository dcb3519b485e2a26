import json
import multiprocessing
from pathlib import Path

import pytest

from harmony_jax import InputError
from harmony_jax.workdir import opened, record
from tests.made_data import tiny_config


def _hold(workdir: Path, holding, release) -> None:
    with opened(workdir):
        holding.set()
        release.wait(60)


def test_a_second_training_in_one_workdir_is_refused_until_the_first_ends(tmp_path):
    context = multiprocessing.get_context("spawn")
    holding, release = context.Event(), context.Event()
    first = context.Process(target=_hold, args=(tmp_path, holding, release))
    first.start()
    assert holding.wait(60)
    with pytest.raises(InputError, match=rf"process {first.pid} on \S+ is training in it"):
        opened(tmp_path).__enter__()
    first.kill()  # holds nothing any more
    first.join()
    with opened(tmp_path):
        pass


def test_where_nothing_can_be_locked_a_warning_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("harmony_jax.workdir.fcntl", None)
    with opened(tmp_path), opened(tmp_path):
        assert f"{tmp_path} is not locked on this system: train once in it" in caplog.messages


def test_a_workdir_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InputError, match=r"file/run: cannot be written \(Not a directory\)"):
        opened(tmp_path / "file" / "run").__enter__()


def test_a_bucket_is_no_folder():
    with pytest.raises(InputError, match=r"gs:/bucket/run: is not a folder: mount the bucket"):
        opened(Path("gs://bucket/run")).__enter__()
    assert not Path("gs:").exists()


def test_the_record_tells_config_and_versions_and_keeps_earlier_ones(tmp_path):
    config = tiny_config(tmp_path)
    record(config, tmp_path)
    first = json.loads((tmp_path / "config.json").read_text())
    assert first["config"]["train"]["batch_size"] == 4
    assert first["version"]["harmony_jax"]
    assert first["version"]["jax"]
    assert first["machine"]["devices"] == 2
    record(config, tmp_path)  # nothing new
    assert not (tmp_path / "config.1.json").exists()
    config.train.epochs = 9
    record(config, tmp_path)
    assert json.loads((tmp_path / "config.1.json").read_text()) == first
    assert json.loads((tmp_path / "config.json").read_text())["config"]["train"]["epochs"] == 9
