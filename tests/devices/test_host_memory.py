import ctypes
import importlib.metadata
import platform
from types import SimpleNamespace

import pytest

from harmony_jax.devices import host_memory
from harmony_jax.devices.host_memory import keep_freed_memory


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
