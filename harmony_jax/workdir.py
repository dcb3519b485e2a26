"""A run's folder: one training at a time, with a record of what ran."""

import errno
import json
import logging
import os
import platform
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

import jax
from ml_collections import ConfigDict

from harmony_jax.disk import write_file
from harmony_jax.errors import InputError

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

_LOCK = ".lock"
_RECORD = "config.json"
# Errors of file systems without locks, such as Lustre without -o flock, and some NFS.
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
_PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy")

_LOGGER = logging.getLogger(__name__)


@contextmanager
def opened(workdir: Path) -> Iterator[None]:
    """Makes the folder and keeps every other training out of it.

    With several processes the first one holds the folder for all. A killed process holds nothing.
    On Windows, and on file systems without locks, nothing is kept out, and a warning says so.
    """
    if str(workdir).startswith(("gs:", "s3:")):
        raise InputError(
            f"workdir {workdir}: is not a folder: mount the bucket (gcsfuse) and pass its path"
        )
    try:
        str(workdir.absolute()).encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"workdir {workdir}: its name is no UTF-8, which checkpoints need: choose another"
        ) from error
    with ExitStack() as held:
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            lock = held.enter_context((workdir / _LOCK).open("a+", errors="replace"))
            if jax.process_index() == 0:
                _take(lock, workdir)
        except OSError as error:
            raise InputError(
                f"workdir {workdir}: cannot be written ({error.strerror}): choose another"
            ) from error
        yield


def _take(lock: TextIO, workdir: Path) -> None:
    """Locks the file for this process and writes into it which one that is."""
    try:
        if fcntl is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        owner = lock.read().strip() or "another process"
        raise InputError(
            f"workdir {workdir}: {owner} is training in it: wait, or choose another"
        ) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise InputError(
                f"workdir {workdir}: cannot be locked ({error.strerror}): choose another"
            ) from error
        _LOGGER.warning(
            "workdir %s: cannot be locked here (%s): nothing keeps a second training out of it",
            workdir,
            error.strerror,
        )
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {socket.gethostname()}")
    lock.flush()


def record(config: ConfigDict, workdir: Path) -> None:
    """Writes `config.json`: the config, the code's version and the machine.

    If the file there differs it is renamed first, so that the folder tells its history.
    """
    if jax.process_index() != 0:
        return
    target = workdir / _RECORD
    devices = jax.devices()
    machine = {
        "device": devices[0].device_kind,
        "devices": len(devices),
        "processes": jax.process_count(),
    }
    entry = {"config": plain(config), "version": code_version(), "machine": machine}
    if target.exists():
        try:
            previous = json.loads(target.read_text())
            if entry.items() <= previous.items():
                return
        except (ValueError, RecursionError, AttributeError):  # nothing that this function wrote
            pass
        _LOGGER.info("%s differs from this run: kept as %s", target, keep_previous(target))
    started = datetime.now(UTC).isoformat(timespec="seconds")
    text = json.dumps({**entry, "started": started}, indent=1)
    write_file(target, f"{text}\n".encode())


def keep_previous(path: Path) -> str | None:
    """Renames a file that is about to be replaced: NAME.1.json, NAME.2.json and so on.

    Returns:
        Its new name, or None if there is no such file.
    """
    if not path.exists():
        return None
    number = 1
    while (kept := path.with_name(f"{path.stem}.{number}{path.suffix}")).exists():
        number += 1
    path.rename(kept)
    return kept.name


def plain(config: ConfigDict) -> dict[str, Any]:
    """The config as JSON holds it: nested dictionaries, lists instead of tuples."""
    return json.loads(json.dumps(config.to_dict()))


def code_version() -> dict[str, str]:
    """Versions of this package and the libraries, and the commit if this is a clone."""
    folder = Path(__file__).parents[1]
    versions = {"harmony_jax": _installed("harmony_jax"), "python": platform.python_version()}
    versions |= {name: _installed(name) for name in _PACKAGES}
    if (folder / ".git").exists():
        commit = _git(folder, "rev-parse", "HEAD")
        if commit:
            changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
            versions["commit"] = commit + (" with changes" if changed else "")
    return versions


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _git(folder: Path, *arguments: str) -> str:
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False
        )
    except OSError:  # no git here
        return ""
    return result.stdout.strip()
