"""Downloads, from a server on this machine that misbehaves as real ones do."""

import hashlib
import io
import re
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from harmony_jax import InputError
from harmony_jax.weights.downloads import FILES, cache_folder, download

CONTENT = np.random.default_rng(0).bytes(700_000)
OTHER = CONTENT[::-1] + b"longer"


class Server(ThreadingHTTPServer):
    """Serves `content` under every released name, whole or in ranges."""

    daemon_threads = True
    content = CONTENT
    cut_after: int | None = None  # bytes of a body after which the connection is closed
    ranges = True  # whether Range is understood
    shift = 0  # bytes that ranges begin too late
    validators: ClassVar = {"ETag": '"first"'}  # headers that If-Range is compared with
    status: int | None = None  # answered to every request

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.may_send = threading.Event()  # bodies are held back until it is set
        self.may_send.set()
        self.requests: list[tuple[str, dict[str, str]]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1.0"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        server = self.server
        server.requests.append((self.path, dict(self.headers)))
        if server.status or self.path.removeprefix("/v1.0/") not in FILES.values():
            self.send_error(server.status or 404)
            return
        body, total, wanted = server.content, len(server.content), self.headers.get("Range")
        condition = self.headers.get("If-Range")
        if not server.ranges or (condition and condition not in server.validators.values()):
            wanted = None
        if wanted:
            first = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) + server.shift
            if first >= total:
                self.send_error(416)
                return
            body = body[first:]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{total - 1}/{total}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        for name, value in server.validators.items():
            self.send_header(name, value)
        self.end_headers()
        half = len(body) // 2
        self.wfile.write(body[: server.cut_after][:half])
        server.may_send.wait()
        self.wfile.write(body[: server.cut_after][half:])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def interrupted(server: Server, folder: Path, after: int = 300_000) -> Path:
    """A download that lost its connection; returns the part."""
    server.cut_after = after
    with pytest.raises(InputError, match=rf"lost \(after {after} of {len(server.content)} bytes\)"):
        download("improved_dih256", folder, server.address)
    server.cut_after = None
    part = folder / "idih256.pth.part"
    assert part.read_bytes() == server.content[:after]
    assert not (folder / "idih256.pth").exists()
    return part


def assert_complete(path: Path, content: bytes = CONTENT) -> None:
    """The file lies alone in its folder but for the lock: no part, no notes."""
    assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(content).digest()
    assert [file for file in path.parent.iterdir() if file.suffix != ".lock"] == [path]


def test_a_file_is_fetched_once(server, tmp_path):
    path = download("deeplab_r34_idih256", tmp_path / "new" / "cache", server.address + "/")
    assert path == tmp_path / "new" / "cache" / "deeplab_idih256.pth"
    assert_complete(path)
    assert download("deeplab_r34_idih256", tmp_path / "new" / "cache", server.address) == path
    assert [path for path, _ in server.requests] == ["/v1.0/deeplab_idih256.pth"]


def test_of_two_that_want_one_file_one_fetches_and_the_other_waits(server, tmp_path, caplog):
    """The locks are of the system, so threads stand for processes."""
    server.may_send.clear()
    with ThreadPoolExecutor() as pool:
        try:
            two = [
                pool.submit(download, "improved_dih256", tmp_path, server.address) for _ in range(2)
            ]
            until = time.monotonic() + 30
            while "another process is fetching it: waiting" not in caplog.text:
                assert time.monotonic() < until
                time.sleep(0.01)
        finally:
            server.may_send.set()
        for one in two:
            assert_complete(one.result())
    assert len(server.requests) == 1


def test_it_may_be_interrupted_many_times(server, tmp_path):
    server.cut_after = 200_000
    for _ in range(3):
        with pytest.raises(InputError, match="run it again to continue"):
            download("improved_dih256", tmp_path, server.address)
    assert_complete(download("improved_dih256", tmp_path, server.address))
    ranges = [headers.get("Range") for _, headers in server.requests]
    assert ranges == [None, "bytes=200000-", "bytes=400000-", "bytes=600000-"]
    assert server.requests[-1][1]["If-Range"] == '"first"'


DATE = "Thu, 01 Oct 2020 00:00:00 GMT"


@pytest.mark.parametrize(
    ("validators", "condition"),
    [
        ({"Last-Modified": DATE}, DATE),
        ({"ETag": 'W/"weak"', "Last-Modified": DATE}, DATE),
        ({"ETag": 'W/"weak"'}, None),  # as far as is known, the file may have changed
        ({}, None),
    ],
)
def test_a_file_without_a_strong_tag_is_continued_by_its_date(
    server, tmp_path, validators, condition
):
    server.validators = validators
    interrupted(server, tmp_path)
    assert_complete(download("improved_dih256", tmp_path, server.address))
    _, headers = server.requests[-1]
    assert headers.get("If-Range") == condition
    assert headers.get("Range") == (condition and "bytes=300000-")


@pytest.mark.parametrize(
    "changes",
    [
        {"ranges": False},
        {"shift": 7},
        {"content": OTHER, "validators": {"ETag": '"second"'}},
        {"content": OTHER, "validators": {}},
        {"content": CONTENT[:300_000]},  # the part is complete but was not renamed
        {"content": CONTENT[:200_000]},
    ],
    ids=["no ranges", "another range", "changed", "changed, no tag", "complete", "too long"],
)
def test_a_part_that_the_server_does_not_continue_is_fetched_anew(server, tmp_path, changes):
    interrupted(server, tmp_path)
    for name, value in changes.items():
        setattr(server, name, value)
    assert_complete(download("improved_dih256", tmp_path, server.address), server.content)


def test_a_part_of_another_or_an_unknown_address_is_not_continued(server, tmp_path):
    interrupted(server, tmp_path)
    other = server.address.replace("127.0.0.1", "localhost")
    assert_complete(download("improved_dih256", tmp_path, other))
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "idih256.pth.part").write_bytes(b"?" * 100)
    assert_complete(download("improved_dih256", tmp_path / "new", server.address))
    assert not any("Range" in headers for _, headers in server.requests)


def failure(*arguments) -> str:
    with pytest.raises(InputError) as error:
        download(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("status", [404, 503])
def test_an_unwilling_server_is_one_line_and_leaves_the_part(server, tmp_path, status):
    part = interrupted(server, tmp_path)
    server.status = status
    message = failure("improved_dih256", tmp_path, server.address)
    assert f"{server.address}/idih256.pth: the server answered {status}" in message
    assert part.read_bytes() == CONTENT[:300_000]


def test_no_network_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
    assert f"{address}/idih256.pth: no connection (" in failure(
        "improved_dih256", tmp_path, address
    )


@pytest.mark.parametrize(
    ("name", "folder", "address", "expected"),
    [
        *(
            ("improved_dih256", "new", address, address)
            for address in ("ftp://host/x", "/files", "http:// host", "http://[half")
        ),
        ("dih256", "new", "http://host", "'dih256': choose one of deeplab_r34_idih256, hrnet18"),
        ("improved_dih256", "file", "http://host", "cannot be written"),
    ],
)
def test_mistakes_are_one_line(tmp_path, name, folder, address, expected):
    (tmp_path / "file").touch()
    assert expected in failure(name, tmp_path / folder, address)


def test_progress_is_shown_on_a_terminal_alone(server, tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for stream, folder in ((Terminal(), tmp_path / "shown"), (io.StringIO(), tmp_path / "not")):
        interrupted(server, folder)
        monkeypatch.setattr(sys, "stderr", stream)
        download("improved_dih256", folder, server.address)
        assert ("idih256.pth: 100%" in stream.getvalue()) is stream.isatty()


def test_the_cache_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "harmony_jax"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "harmony_jax"
