import ctypes
import importlib.metadata
import platform
from types import SimpleNamespace

import pytest

from harmony_jax.devices import host_memory
from harmony_jax.devices.host_memory import free_memory, keep_freed_memory


@pytest.mark.parametrize(
    ("platforms", "device", "plugins", "expected"),
    [
        ("", None, ["cuda"], True),  # without a GPU JAX takes the CPU
        ("", "nvidia0", [], True),  # without a plugin too
        ("", "nvidia0", ["cuda"], False),
        ("cpu", "nvidia0", ["cuda"], True),
        ("cuda,cpu", None, [], False),
    ],
)
def test_the_allocator_is_set_for_a_cpu_alone(
    platforms, device, plugins, expected, tmp_path, monkeypatch
):
    calls = []
    libc = SimpleNamespace(mallopt=lambda name, value: calls.append(name) or 1)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: libc)
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(host_memory, "_DEVICE_FILES", tmp_path)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: plugins)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    if device:
        (tmp_path / device).touch()
    assert keep_freed_memory() == expected
    assert len(calls) == (3 if expected else 0)


GB = 10**9
STAT = "anon 5\ninactive_file 1000000000\ntotal_inactive_file 500000000\n"


@pytest.fixture
def meminfo(tmp_path, monkeypatch):
    """A host with 64 GB available."""
    path = tmp_path / "meminfo"
    path.write_text("MemTotal: 125000000 kB\nMemAvailable:   62500000 kB\n")
    monkeypatch.setattr(host_memory, "_MEMINFO", path)
    return path


def test_a_host_without_groups_has_what_is_available(meminfo, groups):
    assert free_memory() == 64 * GB
    meminfo.unlink()  # as on other systems than Linux
    assert free_memory() is None


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
def test_a_limit_of_control_groups_counts(meminfo, groups, own, place, names, values, left):
    files = zip((*names, "memory.stat"), values, strict=True)
    groups(own, {f"{place}{name}": value for name, value in files})
    assert free_memory() == left
