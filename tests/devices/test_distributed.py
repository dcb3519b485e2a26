"""Processes that do not meet; ones that do: training/test_processes.py."""

import logging
import os
import socket
import threading

import pytest

from harmony_jax import InputError
from harmony_jax.devices import distributed
from harmony_jax.devices.distributed import join_processes


@pytest.fixture
def port():
    """Nobody listens at it."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


class Exited(BaseException):
    pass


def test_processes_that_do_not_come_are_said(port, monkeypatch, caplog, capfd):
    ended = threading.Event()

    def initialize(*_: object, **options: float) -> None:
        assert options["heartbeat_timeout_seconds"] < 60
        assert ended.wait(30)
        raise Exited

    monkeypatch.setattr(distributed, "_SAY_SECONDS", 0.0)
    monkeypatch.setattr(distributed, "_MEET_SECONDS", 0.0)
    monkeypatch.setattr(distributed.jax.distributed, "initialize", initialize)
    monkeypatch.setattr(os, "_exit", lambda status: ended.set())
    with caplog.at_level(logging.WARNING), pytest.raises(Exited):
        join_processes(f"localhost:{port}", 3, 1)
    waiting = f"for 3 processes to meet at localhost:{port}"
    assert caplog.messages[0].startswith(f"Waiting {waiting}")
    assert capfd.readouterr().err.splitlines()[-1].startswith(f"error: waited 0 s {waiting}")


def test_variables_of_slurm_do_not_choose_the_devices(port, monkeypatch):
    """JAX would take the GPU of the local rank alone."""
    found = []
    monkeypatch.setenv("SLURM_LOCALID", "3")
    initialize = lambda *arguments, **_: found.append(arguments)  # noqa: E731
    monkeypatch.setattr(distributed.jax.distributed, "initialize", initialize)
    monkeypatch.setattr(distributed.failures, "watch", lambda: None)
    join_processes(f"localhost:{port}", 2, 1)
    assert found == [(f"localhost:{port}", 2, 1, [])]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere.invalid:1234", 2, 1), r"no host 'nowhere.invalid' is known"),
        (("localhost:", 2, 1), r"coordinator 'localhost:': expected HOST:PORT"),
        (("localhost:1234", 2, 2), r"process_id 2: choose 0 to 1"),
        (("localhost:1234", None, 0), r"pass all three"),
        ((None, 2, None), r"pass all three"),
    ],
)
def test_invalid_arguments_are_refused_at_once(arguments, message):
    with pytest.raises(InputError, match=message):
        join_processes(*arguments)


def test_a_taken_port_is_said_at_once(port):
    with socket.socket() as other:
        other.bind(("", port))
        other.listen()
        with pytest.raises(InputError, match=f"process 0 cannot use port {port}"):
            join_processes(f"localhost:{port}", 2, 0)
