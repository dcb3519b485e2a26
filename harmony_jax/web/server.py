"""`harmonize serve`: the page on this machine, with no network."""

import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import numpy as np
import waitress

from harmony_jax.command_line import Parser
from harmony_jax.errors import InputError
from harmony_jax.photos.harmonizer import Harmonizer
from harmony_jax.photos.options import add_model_options, expect_any_file, max_pixels
from harmony_jax.web.app import create_app, request_bytes

_ADDRESS = "127.0.0.1"  # only this machine: the page asks for no password
_FOLDER = "harmonize-"
_THREADS = 32  # most of them wait while large photos are made, and some answer the rest


def serve(arguments: Sequence[str]) -> None:
    """Serves the page until it is stopped."""
    parser = Parser(
        prog="harmonize serve",
        description="Serves a page on this machine, to harmonize photos and clips in the browser.\n"
        "Ctrl-C ends it.",
    )
    add = parser.add_argument
    add("--port", type=int, default=8765, help="default: %(default)s; 0 takes a free one")
    text = "refuse larger files (default: %(default)g)"
    add("--max-upload-mb", type=float, default=100, metavar="N", help=text)
    add_model_options(parser)
    options = parser.parse_args(arguments)
    if not 0 < options.max_upload_mb <= 1e5:
        raise InputError(f"--max-upload-mb {options.max_upload_mb:g}: expected more than 0")
    pixels = max_pixels(options.max_megapixels)
    expect_any_file(pixels)
    signal.signal(signal.SIGTERM, _end)
    with _listen(options.port) as listener:
        harmonizer = Harmonizer.from_checkpoint(options.checkpoint, options.mirror)
        # Compiles the network, so that the first photo does not wait for it.
        mask = np.pad(np.full((32, 32), 255, np.uint8), 16)
        harmonizer.harmonize(np.zeros((64, 64, 3), np.uint8), mask)
        max_upload = int(options.max_upload_mb * 1e6)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ends through the clean-up too
        with _own_temporary_folder():
            server = waitress.create_server(
                create_app(harmonizer, max_upload, pixels),
                sockets=[listener],
                max_request_body_size=request_bytes(max_upload),
                threads=_THREADS,
                # Slow uploads take no thread: as many as people have windows open, none for long.
                connection_limit=1000,
                channel_timeout=30,
                cleanup_interval=10,
            )
            address = f"http://{_ADDRESS}:{listener.getsockname()[1]}"
            print(f"Open {address}  (Ctrl-C ends it)", flush=True)
            server.run()


@contextmanager
def _own_temporary_folder() -> Iterator[None]:
    """A folder for incoming uploads; the server writes no other file."""
    before = tempfile.tempdir
    _remove_left_folders()
    with tempfile.TemporaryDirectory(prefix=f"{_FOLDER}{os.getpid()}-") as tempfile.tempdir:
        try:
            yield
        finally:
            tempfile.tempdir = before


def _remove_left_folders() -> None:
    """Removes the folders of servers that were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*-*"):
        process = path.name.removeprefix(_FOLDER).partition("-")[0]
        if os.name == "posix" and process.isascii() and process.isdigit():
            try:
                os.kill(int(process), 0)
            except ProcessLookupError:
                shutil.rmtree(path, ignore_errors=True)
            except OSError:  # another user's
                continue


def _listen(port: int) -> socket.socket:
    if not 0 <= port < 1 << 16:
        raise InputError(f"--port {port}: expected 0 to 65535")
    try:
        return socket.create_server((_ADDRESS, port))
    except OSError as error:
        reason = error.strerror
        raise InputError(f"--port {port}: not available ({reason}): choose another") from error


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)  # through the clean-up above
