"""How much memory of the host this process may still take."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from harmony_jax.devices import control_groups

_MEMINFO = Path("/proc/meminfo")


def free_memory() -> int | None:
    """Bytes that can be allocated without swapping or being killed for them.

    What the host has available, cut down to what the limits of control groups leave (versions 1
    and 2), as a batch system or a container sets them.

    Returns:
        None where the system does not say (not Linux).
    """
    if not _MEMINFO.exists():
        return None
    for line in _MEMINFO.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return min([int(line.split()[1]) * 1024, *_left_by_groups()])
    return None


class _Names(NamedTuple):
    """Of a group's files, and of the part of what it uses that the kernel gives up when asked."""

    limit: str
    used: str
    reclaimable: str


_VERSIONS = (
    _Names("memory.max", "memory.current", "inactive_file"),
    _Names("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def _left_by_groups() -> Iterator[int]:
    for folder in control_groups.folders("memory"):
        for names in _VERSIONS:
            left = _left(folder, names)
            if left is not None:
                yield left


def _left(folder: Path, names: _Names) -> int | None:
    """What one group's limit leaves; None: there is none, or no such group."""
    try:
        limit = (folder / names.limit).read_text().strip()
        if limit == "max":
            return None
        used = int((folder / names.used).read_text())
        statistics = (folder / "memory.stat").read_text().splitlines()
        counts = dict(line.split(maxsplit=1) for line in statistics)
        return max(0, int(limit) - used + int(counts.get(names.reclaimable, 0)))
    except (OSError, ValueError):
        return None
