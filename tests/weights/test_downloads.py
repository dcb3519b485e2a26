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

import numpy as np
import pytest

from harmony_jax import InputError
from harmony_jax.weights.downloads import FILES, cache_folder, download

CONTENT = np.random.default_rng(0).bytes(700_000)
OTHER = CONTENT[::-1] + b"longer"


class Server(ThreadingHTTPServer):
    """Serves `content` under every released name, whole or in ranges.

    Attributes:
        may_send: bodies are held back until it is set.
        cut_after: bytes of a body after which the connection is closed; None for never.
        ranges: whether Range is understood.
        shift: bytes that ranges begin too late.
        validators: response headers that identify the content; If-Range is compared with them.
        status: answered to every request, if it is not None.
        requests: path and headers of each request so far.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.cut_after: int | None = None
        self.may_send = threading.Event()
        self.may_send.set()
        self.ranges = True
        self.shift = 0
        self.validators = {"ETag": '"first"'}
        self.status: int | None = None
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
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{total}")
                self.send_header("Content-Length", "0")
                self.end_headers()
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
    assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(content).digest()
    assert names(path.parent) == [path.name]  # no part, no notes


def names(folder: Path) -> list[str]:
    """What is in a folder, but for the lock, which may stay."""
    return [file.name for file in folder.iterdir() if file.suffix != ".lock"]


def test_a_file_is_fetched_once(server, tmp_path):
    path = download("deeplab_r34_idih256", tmp_path / "new" / "cache", server.address + "/")
    assert path == tmp_path / "new" / "cache" / "deeplab_idih256.pth"
    assert_complete(path)
    assert download("deeplab_r34_idih256", tmp_path / "new" / "cache", server.address) == path
    assert [path for path, _ in server.requests] == ["/v1.0/deeplab_idih256.pth"]


def test_an_interrupted_download_continues_where_it_stopped(server, tmp_path):
    interrupted(server, tmp_path)
    assert_complete(download("improved_dih256", tmp_path, server.address))
    _, headers = server.requests[-1]
    assert headers["Range"] == "bytes=300000-"
    assert headers["If-Range"] == '"first"'


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
    interrupted(server, tmp_path, after=200_000)
    server.cut_after = 200_000
    for _ in range(2):
        with pytest.raises(InputError, match="run it again to continue"):
            download("improved_dih256", tmp_path, server.address)
    assert_complete(download("improved_dih256", tmp_path, server.address))
    assert [headers.get("Range") for _, headers in server.requests] == [
        None,
        "bytes=200000-",
        "bytes=400000-",
        "bytes=600000-",
    ]


@pytest.mark.parametrize(
    ("validators", "condition"),
    [
        ({"Last-Modified": "Thu, 01 Oct 2020 00:00:00 GMT"}, "Thu, 01 Oct 2020 00:00:00 GMT"),
        ({"ETag": 'W/"weak"', "Last-Modified": "Thu, 01 Oct 2020 00:00:00 GMT"}, "Thu, 01 Oct"),
        ({"ETag": 'W/"weak"'}, None),
        ({}, None),
    ],
)
def test_servers_without_a_strong_tag_are_continued_too(server, tmp_path, validators, condition):
    server.validators = validators
    interrupted(server, tmp_path)
    assert_complete(download("improved_dih256", tmp_path, server.address))
    found = server.requests[-1][1].get("If-Range")
    assert found == condition or (condition and found.startswith(condition))
    assert server.requests[-1][1]["Range"] == "bytes=300000-"


@pytest.mark.parametrize(("name", "value"), [("ranges", False), ("shift", 7)])
def test_a_server_that_sends_another_range_is_asked_for_the_whole(server, tmp_path, name, value):
    interrupted(server, tmp_path)
    setattr(server, name, value)
    assert_complete(download("improved_dih256", tmp_path, server.address))


@pytest.mark.parametrize("validators", [{"ETag": '"second"'}, {}])
def test_parts_of_different_files_are_never_joined(server, tmp_path, validators):
    if not validators:
        server.validators = {}  # only the length tells
    interrupted(server, tmp_path)
    server.content, server.validators = OTHER, validators
    assert_complete(download("improved_dih256", tmp_path, server.address), OTHER)


def test_a_part_from_another_address_is_not_continued(server, tmp_path):
    interrupted(server, tmp_path)
    server.content = OTHER
    other = server.address.replace("127.0.0.1", "localhost")
    assert_complete(download("improved_dih256", tmp_path, other), OTHER)
    assert "Range" not in server.requests[-1][1]


def test_a_part_that_nothing_is_known_of_is_not_continued(server, tmp_path):
    (tmp_path / "idih256.pth.part").write_bytes(b"?" * 100)
    assert_complete(download("improved_dih256", tmp_path, server.address))


@pytest.mark.parametrize(
    ("extra", "ranges"),
    [(b"", ["bytes=700000-"]), (b"more", ["bytes=700004-", None])],
    ids=["complete", "too long"],
)
def test_a_part_that_was_not_renamed(server, tmp_path, extra, ranges):
    """The computer may stop between the last byte and the renaming."""
    interrupted(server, tmp_path).write_bytes(CONTENT + extra)
    assert_complete(download("improved_dih256", tmp_path, server.address))
    assert [headers.get("Range") for _, headers in server.requests[1:]] == ranges


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
    message = failure("improved_dih256", tmp_path, address)
    assert f"{address}/idih256.pth: no connection (" in message
    assert "Connection refused" in message


@pytest.mark.parametrize("address", ["ftp://host/x", "/files", "http:// host", "http://[half"])
def test_an_invalid_address_is_one_line(tmp_path, address):
    assert address in failure("improved_dih256", tmp_path, address)


def test_an_unknown_name_lists_the_known_ones(tmp_path):
    message = failure("dih256", tmp_path)
    assert "'dih256'" in message
    assert all(name in message for name in FILES)


def test_a_folder_that_cannot_be_written_is_one_line(server, tmp_path):
    (tmp_path / "file").touch()
    message = failure("improved_dih256", tmp_path / "file", server.address)
    assert "cannot be written" in message
    assert "choose another cache folder" in message


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
