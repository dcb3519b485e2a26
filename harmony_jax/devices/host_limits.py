"""What the host limits besides cores and memory: shared memory and open files."""

import logging
import os
from pathlib import Path

from harmony_jax.errors import InputError

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

SHARED_MEMORY = Path("/dev/shm")
_OPEN_FILES = Path("/proc/self/fd")

_FEWEST_FILES = 256  # a training without worker processes opens about 100
_FILES_AT_MOST = 2**16  # of a limit that is none

_LOGGER = logging.getLogger(__name__)


def free_shared_memory() -> int | None:
    """Bytes left in /dev/shm; None where processes share memory in another way."""
    try:
        found = os.statvfs(SHARED_MEMORY)
    except (AttributeError, OSError):  # Windows, macOS
        return None
    return found.f_bavail * found.f_frsize


def raise_file_limit() -> None:
    """Lets this process, and those it starts, open as many files as the hard limit allows.

    Raises:
        InputError: that is too few.
    """
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_AT_MOST if hard == resource.RLIM_INFINITY else min(hard, _FILES_AT_MOST)
    if wanted < _FEWEST_FILES:
        raise InputError(
            f"open files: {wanted} are allowed, at least {_FEWEST_FILES} are needed: raise the "
            "hard limit (ulimit -Hn; Docker: --ulimit nofile=1024)"
        )
    if wanted > soft != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        _LOGGER.info("Limit of open files raised from %d to %d", soft, wanted)


def free_files() -> int | None:
    """How many more files this process may open; None if unknown (not Linux)."""
    if resource is None or not _OPEN_FILES.is_dir():
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        soft = _FILES_AT_MOST
    return soft - len(os.listdir(_OPEN_FILES))
