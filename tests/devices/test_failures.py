"""One of several processes fails; with real processes: training/test_processes.py."""

import os
import threading

import pytest

from harmony_jax import InputError
from harmony_jax.devices import failures
from harmony_jax.errors import StoppedError

REASON = "harmony_jax/failure/process"


class Service:
    """JAX's coordination service, as far as it is used, for process 1."""

    process_id = 1

    def __init__(self) -> None:
        self.client, self.met = self, False
        self.values: dict[str, str] = {}

    def key_value_set(self, key: str, value: str) -> None:
        if key in self.values:
            raise RuntimeError("ALREADY_EXISTS")
        self.values[key] = value

    def key_value_dir_get(self, folder: str) -> list[tuple[str, str]]:
        return [(k, v) for k, v in self.values.items() if k.startswith(f"{folder}/")]

    def wait_at_barrier(self, name: str, milliseconds: int) -> None:
        self.met = True


class Exited(BaseException):
    pass


@pytest.fixture
def service(monkeypatch):
    found = Service()
    monkeypatch.setattr(failures, "_service", lambda: found)
    monkeypatch.setattr(failures, "_leaving", threading.Lock())
    return found


@pytest.fixture
def ended(service, monkeypatch):
    """Has work fail with an error; the exit status."""

    def run(error: BaseException) -> int:
        statuses: list[int] = []

        def end(status: int) -> None:
            statuses.append(status)
            raise Exited

        monkeypatch.setattr(os, "_exit", end)
        with pytest.raises(Exited), failures.ending_together():
            raise error
        assert service.met  # the service is there until all have the reason
        (status,) = statuses
        return status

    return run


@pytest.mark.parametrize(
    ("error", "status", "expected"),
    [
        (InputError("a.jpg: damaged JPEG"), 1, "a.jpg: damaged JPEG"),
        (MemoryError(), 1, "MemoryError"),
        (OSError(28, "No space left on device"), 1, "OSError: [Errno 28] No space left on device"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ValueError("Gloo failed: Connection closed by peer"), 1, "another process was killed, or"),
    ],
)
def test_the_reason_of_a_failure(error, status, expected, service, ended, capsys):
    assert ended(error) == status
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"error: process 1: {expected}")
    assert service.values[REASON] == line.removeprefix("error: ")


def test_what_follows_from_another_failure_is_not_the_reason(service, ended, capsys):
    service.values[REASON] = "process 0: a.jpg: damaged JPEG"
    assert ended(ValueError("Gloo AllReduce failed")) == 1
    assert capsys.readouterr().err == "error: process 0: a.jpg: damaged JPEG\n"


def test_an_error_that_all_processes_raise_is_raised(service):
    with pytest.raises(StoppedError), failures.ending_together():
        raise StoppedError("stopped", 15)
    assert not service.values


def test_an_error_of_a_single_process_is_raised():
    with pytest.raises(InputError, match="alone"), failures.ending_together():
        raise InputError("alone")
