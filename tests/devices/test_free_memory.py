import pytest

from harmony_jax.devices import control_groups, free_memory

GB = 10**9
STAT = "anon 5\ninactive_file 1000000000\ntotal_inactive_file 500000000\n"


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host with 64 GB available, without control groups."""
    monkeypatch.setattr(control_groups, "_ROOT", tmp_path / "cgroup")
    monkeypatch.setattr(control_groups, "_OWN", tmp_path / "own")
    monkeypatch.setattr(free_memory, "_MEMINFO", tmp_path / "meminfo")
    (tmp_path / "meminfo").write_text("MemTotal: 125000000 kB\nMemAvailable:   62500000 kB\n")
    return tmp_path


def write(host, own: str, folder: str, files: dict[str, str]) -> None:
    (host / "own").write_text(own)
    for name, content in files.items():
        path = host / "cgroup" / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def test_a_host_without_groups_has_what_is_available(host):
    assert free_memory.free_memory() == 64 * GB


def test_a_system_that_does_not_say(host):
    (host / "meminfo").unlink()
    assert free_memory.free_memory() is None


@pytest.mark.parametrize(
    ("own", "folder", "files", "left"),
    [
        # What it uses counts, but for files that the kernel keeps only while there is room.
        (
            "0::/pods/job\n",
            "pods",
            {"memory.max": f"{8 * GB}\n", "memory.current": f"{3 * GB}\n", "memory.stat": STAT},
            6 * GB,
        ),
        (
            "0::/\n",
            "",
            {"memory.max": "max\n", "memory.current": "5", "memory.stat": STAT},
            64 * GB,
        ),
        (
            "4:memory:/job\n",
            "memory/job",
            {
                "memory.limit_in_bytes": f"{8 * GB}",
                "memory.usage_in_bytes": f"{3 * GB}",
                "memory.stat": STAT,
            },
            55 * GB // 10,
        ),
        # Version 1 says "no limit" by a number beyond all memory.
        (
            "4:memory:/\n",
            "memory",
            {
                "memory.limit_in_bytes": "9223372036854771712",
                "memory.usage_in_bytes": "5",
                "memory.stat": STAT,
            },
            64 * GB,
        ),
        (
            "0::/\n",
            "",
            {"memory.max": f"{GB}", "memory.current": f"{4 * GB}", "memory.stat": "anon 5\n"},
            0,
        ),
    ],
)
def test_a_limit_of_control_groups_counts(host, own, folder, files, left):
    write(host, own, folder, files)
    assert free_memory.free_memory() == left
