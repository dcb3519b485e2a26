"""Linux's control groups, which give a container or a job its share of the host."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def folders(controller: str) -> Iterator[Path]:
    """Where limits of this process may lie, by versions 1 and 2; not every folder exists.

    A limit of a group is one of all groups in it, so the groups around the process's own are
    among them. In a container the path may be that of the host, which is not there; the root is
    the container's own group then.

    Args:
        controller: such as "cpu" or "memory".
    """
    try:
        lines = _OWN.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        number, controllers, group = line.split(":", 2)
        if number == "0":
            roots = [_ROOT, _ROOT / "unified"]
        elif controller in controllers.split(","):
            roots = [_ROOT / controller, _ROOT / controllers]
        else:
            continue
        path = PurePosixPath(group.lstrip("/"))
        for root in roots:
            for place in [path, *path.parents]:
                yield root / place
