"""Processes that do not meet, or one of which fails; real ones: training/test_processes.py."""

import logging
import os
import socket
import threading

import pytest

from harmony_jax import InputError
from harmony_jax.devices import distributed, failures
from harmony_jax.devices.distributed import join_processes
from harmony_jax.errors import StoppedError


@pytest.fixture
def port():
    """Nobody listens at it."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


class Exited(BaseException):
    pass


@pytest.fixture
def at_once(monkeypatch):
    """Says and gives up without waiting; JAX's waiting lasts until then."""
    ended = threading.Event()

    def initialize(*_: object, **options: float) -> None:
        assert options["heartbeat_timeout_seconds"] < 60
        assert ended.wait(30)
        raise Exited

    monkeypatch.setattr(distributed, "_SAY_SECONDS", 0.0)
    monkeypatch.setattr(distributed, "_MEET_SECONDS", 0.0)
    monkeypatch.setattr(distributed.jax.distributed, "initialize", initialize)
    monkeypatch.setattr(os, "_exit", lambda status: ended.set())


@pytest.mark.parametrize(
    ("process", "expected"),
    [
        (0, "which does not answer: process 0 must run on that host"),
        (1, "which does not answer: is process 0 started there?"),
    ],
)
def test_a_coordinator_that_is_not_there_is_said(process, expected, port, at_once, caplog, capfd):
    with caplog.at_level(logging.WARNING), pytest.raises(Exited):
        join_processes(f"localhost:{port}", 2, process)
    assert caplog.messages == [f"Waiting for localhost:{port}, {expected} (up to 0 s)"]
    assert capfd.readouterr().err.splitlines()[-1] == (
        f"error: waited 0 s for localhost:{port}, {expected}"
    )


def test_processes_that_do_not_come_are_said(port, at_once, caplog):
    with socket.socket() as coordinator, caplog.at_level(logging.WARNING):
        coordinator.bind(("localhost", port))
        coordinator.listen()
        with pytest.raises(Exited):
            join_processes(f"localhost:{port}", 3, 1)
    (line,) = caplog.messages
    assert line.startswith(f"Waiting for 3 processes to meet at localhost:{port}: start them all")


def test_an_unknown_host_and_a_taken_port_are_said_at_once(port, monkeypatch):
    monkeypatch.setattr(distributed.jax.distributed, "initialize", None)
    with pytest.raises(InputError, match=r"no host 'nowhere.invalid' is known"):
        join_processes("nowhere.invalid:1234", 2, 1)
    with socket.socket() as other:
        other.bind(("", port))
        other.listen()
        with pytest.raises(InputError, match=f"process 0 cannot use port {port}"):
            join_processes(f"localhost:{port}", 2, 0)


class Service:
    """JAX's coordination service, as far as it is used."""

    def __init__(self, process_id: int):
        self.process_id, self.num_processes, self.client = process_id, 2, self
        self.values: dict[str, str] = {}

    def key_value_set(self, key: str, value: str) -> None:
        if key in self.values:
            raise RuntimeError("ALREADY_EXISTS")
        self.values[key] = value

    def key_value_dir_get(self, folder: str) -> list[tuple[str, str]]:
        return [(k, v) for k, v in self.values.items() if k.startswith(f"{folder}/")]


@pytest.fixture
def ended(monkeypatch):
    """Runs work in a process with this service: the exit status."""

    def run(service: Service, error: BaseException) -> int:
        statuses: list[int] = []

        def end(status: int) -> None:
            statuses.append(status)
            raise Exited

        monkeypatch.setattr(failures, "_service", lambda: service)
        monkeypatch.setattr(failures, "_leaving", threading.Lock())
        monkeypatch.setattr(failures, "_LEAVING_SECONDS", 0.0)
        monkeypatch.setattr(os, "_exit", end)
        with pytest.raises(Exited), failures.ending_together():
            raise error
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
        (
            ValueError("UNKNOWN: Gloo AllGather failed: Connection closed by peer"),
            1,
            "another process is gone, killed or with its machine (UNKNOWN: Gloo AllGather failed: "
            "Connection closed by peer)",
        ),
    ],
)
def test_the_reason_of_a_failure(error, status, expected, ended, capsys):
    service = Service(1)
    assert ended(service, error) == status
    assert capsys.readouterr().err.splitlines()[-1] == f"error: process 1: {expected}"
    assert service.values["harmony_jax/failure/process"] == f"process 1: {expected}"
    assert "harmony_jax/left/1" in service.values  # the first process need not wait for it


def test_what_follows_from_another_failure_is_not_the_reason(ended, capsys):
    service = Service(0)
    service.values["harmony_jax/failure/process"] = "process 1: a.jpg: damaged JPEG"
    assert ended(service, ValueError("Gloo AllReduce failed")) == 1
    assert capsys.readouterr().err == "error: process 1: a.jpg: damaged JPEG\n"


@pytest.mark.parametrize("error", [StoppedError("stopped", 15), InputError("alone")])
def test_what_all_raise_and_what_one_alone_raises_is_raised(error, monkeypatch):
    if isinstance(error, StoppedError):
        monkeypatch.setattr(failures, "_service", lambda: Service(0))
    with pytest.raises(type(error)), failures.ending_together():
        raise error
