import os

import pytest

from harmony_jax.devices.host_cores import usable_cores


@pytest.fixture(autouse=True)
def host(groups, monkeypatch):
    """A host of 64 cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)


def test_the_cores_are_those_of_the_affinity(monkeypatch):
    assert usable_cores() == 64
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 4, 9})
    assert usable_cores() == 3


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
def test_a_quota_of_control_groups_counts(groups, own, files, cores):
    groups(own, files)
    assert usable_cores() == cores
