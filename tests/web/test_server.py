"""The server's frame; tests/web/test_browser.py runs it whole."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import waitress

from harmony_jax import InputError
from harmony_jax.web.server import serve


@pytest.fixture(autouse=True)
def _signals():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_it_listens_on_this_machine_alone_and_removes_its_temporary_folder(
    trained, tmp_path, monkeypatch, capsys
):
    outside = tmp_path
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    left, running = (tmp_path / f"harmonize-{pid}-x" for pid in (ended.pid, os.getppid()))
    for path in (left, running, tmp_path / "harmonize-mine-x"):
        path.mkdir()
    seen = []

    def run(server):
        assert server.socket.getsockname()[0] == "127.0.0.1"
        seen.append(Path(tempfile.gettempdir()))
        assert seen[0].is_dir()
        server.close()

    monkeypatch.setattr(waitress.server.BaseWSGIServer, "run", run)
    serve(["--port=0", f"--checkpoint={trained[1]}"])
    assert seen[0].parent == outside
    assert not seen[0].exists()
    assert {path.name for path in tmp_path.iterdir()} == {running.name, "harmonize-mine-x"}
    assert Path(tempfile.gettempdir()) == outside
    assert capsys.readouterr().out.startswith("Open http://127.0.0.1:")


def test_a_port_that_is_taken_is_told_before_anything_is_loaded():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"--port {port}: "):
            serve([f"--port={port}", "--checkpoint=/nowhere"])
