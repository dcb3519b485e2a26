import logging
import resource

import pytest

from harmony_jax import InputError
from harmony_jax.devices import host_limits


@pytest.fixture
def limits(monkeypatch):
    """The soft and the hard limit of open files, which tests set."""
    found = [1024, 4096]
    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(found))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: found.__setitem__(slice(2), limit))
    return found


def test_as_many_files_as_allowed_may_be_open(limits, caplog):
    with caplog.at_level(logging.INFO):
        host_limits.raise_file_limit()
    assert limits == [4096, 4096]
    assert "raised from 1024 to 4096" in caplog.text
    limits[:] = [1024, resource.RLIM_INFINITY]
    host_limits.raise_file_limit()
    assert limits[0] == 2**16
    before = host_limits.free_files()
    with open("/dev/null"):
        assert host_limits.free_files() == before - 1


def test_too_few_files_are_one_line(limits):
    limits[:] = [64, 64]
    with pytest.raises(InputError, match="open files: 64 are allowed, at least 256"):
        host_limits.raise_file_limit()


def test_shared_memory_is_measured_where_it_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(host_limits, "SHARED_MEMORY", tmp_path)
    assert host_limits.free_shared_memory() > 0
    monkeypatch.setattr(host_limits, "SHARED_MEMORY", tmp_path / "none")
    assert host_limits.free_shared_memory() is None
