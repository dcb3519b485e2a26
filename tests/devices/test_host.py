import os

import pytest

from harmony_jax.devices import host
from harmony_jax.devices.host import free_memory, usable_cores

GB = 10**9
STAT = "anon 5\ninactive_file 1000000000\ntotal_inactive_file 500000000\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A host of 64 cores with 64 GB available, without control groups."""
    monkeypatch.setattr(host, "_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(host, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(host, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    (tmp_path / "meminfo").write_text("MemTotal: 125000000 kB\nMemAvailable:   62500000 kB\n")
    return tmp_path


def write(folder, own: str, files: dict[str, str]) -> None:
    (folder / "own").write_text(own)
    for name, content in files.items():
        path = folder / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def test_a_host_without_groups(folder, monkeypatch):
    assert free_memory() == 64 * GB
    assert usable_cores() == 64
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 4, 9})
    assert usable_cores() == 3
    (folder / "meminfo").unlink()  # as on other systems than Linux
    assert free_memory() is None


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "max 100000\n"}, 64),
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 3),
        ("0::/\n", {"cpu.max": "10000 100000\n"}, 1),
        ("0::/pods/job\n", {"pods/job/cpu.max": "max 100000", "pods/cpu.max": "800000 100000"}, 8),
        ("0::/on/the/host\n", {"cpu.max": "400000 100000\n"}, 4),  # the path outside a container
        (
            "5:cpu,cpuacct:/job\n0::/\n",
            {
                "cpu,cpuacct/job/cpu.cfs_quota_us": "200000",
                "cpu,cpuacct/job/cpu.cfs_period_us": "1e5",
            },
            2,
        ),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64),
        ("0::/\n", {"cpu.max": "unknown"}, 64),
    ],
)
def test_a_quota_of_control_groups_counts(folder, own, files, cores):
    write(folder, own, files)
    assert usable_cores() == cores


VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")
VERSION_2 = ("memory.max", "memory.current")


@pytest.mark.parametrize(
    ("own", "place", "names", "values", "left"),
    [
        # Files that the kernel keeps only while there is room do not count as used.
        ("0::/pods/job\n", "pods/", VERSION_2, (f"{8 * GB}\n", f"{3 * GB}\n", STAT), 6 * GB),
        ("0::/\n", "", VERSION_2, ("max\n", "5", STAT), 64 * GB),
        ("0::/\n", "", VERSION_2, (f"{GB}", f"{4 * GB}", "anon 5\n"), 0),
        (
            "4:memory:/job\n",
            "memory/job/",
            VERSION_1,
            (f"{8 * GB}", f"{3 * GB}", STAT),
            55 * GB // 10,
        ),
        # Version 1 says "no limit" by a number beyond all memory.
        ("4:memory:/\n", "memory/", VERSION_1, ("9223372036854771712", "5", STAT), 64 * GB),
    ],
)
def test_a_limit_of_control_groups_counts(folder, own, place, names, values, left):
    files = zip((*names, "memory.stat"), values, strict=True)
    write(folder, own, {f"{place}{name}": value for name, value in files})
    assert free_memory() == left
