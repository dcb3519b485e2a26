import errno
import json
import multiprocessing
import os
from pathlib import Path
from types import SimpleNamespace

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


def failing(name: str):
    number = getattr(errno, name)

    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return SimpleNamespace(flock=flock, LOCK_EX=0, LOCK_NB=0)


@pytest.mark.parametrize("name", ["ENOSYS", "ENOTSUP", "EOPNOTSUPP", "ENOLCK", None])
def test_where_nothing_can_be_locked_a_warning_says_so(name, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("harmony_jax.workdir.fcntl", name and failing(name))  # None on Windows
    with opened(tmp_path), opened(tmp_path):
        (first, _) = caplog.messages
    assert first.startswith(f"workdir {tmp_path}: cannot be locked here (")


@pytest.mark.parametrize("name", ["EIO", "EACCES", "EINVAL", "ESTALE"])
def test_another_error_of_locking_is_one_line(name, tmp_path, monkeypatch):
    monkeypatch.setattr("harmony_jax.workdir.fcntl", failing(name))
    with pytest.raises(InputError, match=rf"^workdir {tmp_path}: cannot be locked \(.+\): .+$"):
        opened(tmp_path).__enter__()


def test_a_workdir_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InputError, match=r"file/run: cannot be written \(Not a directory\)"):
        opened(tmp_path / "file" / "run").__enter__()


def test_a_bucket_is_no_folder():
    with pytest.raises(InputError, match=r"gs:/bucket/run: is not a folder"):
        opened(Path("gs://bucket/run")).__enter__()
    assert not Path("gs:").exists()


def test_a_name_that_checkpoints_cannot_have(tmp_path):
    with pytest.raises(InputError, match=r"its name is no UTF-8, .*: choose another"):
        opened(tmp_path / os.fsdecode(b"r\xe9n")).__enter__()
    assert not list(tmp_path.iterdir())


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
