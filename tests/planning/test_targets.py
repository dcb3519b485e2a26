"""TPU slices and hosts with GPUs, by name."""

import importlib.metadata
import importlib.util

import jax
import pytest

from harmony_jax import InputError
from harmony_jax.planning.chips import CHIPS, chip_of
from harmony_jax.planning.targets import find_target
from tests.planning.compilers import needs_cuda_plugin, needs_libtpu


@pytest.mark.parametrize(
    ("topology", "message"),
    [
        ("v5e", "choose v4, v5e"),
        ("v3:4x4", "choose v4, v5e"),
        ("v5e:4x4x4", "2 dimensions"),
        ("v5p:4x4", "3 dimensions"),
        ("v5e:16x32", "512 .*256"),
        ("v5e:0x4", "0 chips"),
        ("v5e:4xa", "shape"),
        ("h200", "shape"),
        ("h200:9", "8"),
        ("h200:0x8", "0 chips"),
        ("h100:129x8", "1032 .*1024"),
        ("h100:1x16x8", "hosts x GPUs"),
    ],
)
def test_invalid_targets(topology, message):
    with pytest.raises(InputError, match=f"topology {topology}: .*{message}"):
        find_target(topology)


def test_without_a_compiler_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'harmony_jax\[tpu\]'"):
        find_target("v5e:4x4")

    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    install = rf"pip install 'jax\[cuda13-local\]=={jax.__version__}'"
    monkeypatch.setattr("harmony_jax.planning.targets.version", version)
    with pytest.raises(InputError, match=install):
        find_target("h200:8")
    monkeypatch.setattr("harmony_jax.planning.targets.version", lambda name: "0.4.0")
    with pytest.raises(InputError, match=rf"0\.4\.0 is not of jax's version.*{install}"):
        find_target("h200:8")


@pytest.mark.parametrize(
    ("device_kind", "name"),
    [
        ("TPU v4", "v4"),
        ("TPU v5 lite", "v5e"),
        ("TPU v5", "v5p"),
        ("TPU v5p", "v5p"),
        ("TPU v6 lite", "v6e"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA H100 PCIe", None),
        ("cpu", None),
    ],
)
def test_the_chip_of_a_device(device_kind, name):
    assert chip_of(device_kind) == CHIPS.get(name)


@needs_libtpu
@pytest.mark.parametrize(
    ("topology", "chips"),
    [("v4:2x2x2", 8), ("v5e:1x1", 1), ("v5e:16x16", 256), ("v5p:4x8x8", 256), ("v6e:2x4", 8)],
)
def test_each_chip_is_one_device(topology, chips):
    assert len(find_target(topology).devices) == chips


@needs_libtpu
def test_a_slice_that_the_compiler_refuses():
    with pytest.raises(InputError, match=r"topology v5e:3x5: .*3x5"):
        find_target("v5e:3x5")


@needs_cuda_plugin
@pytest.mark.parametrize(
    ("topology", "hosts", "gpus"), [("h100:1", 1, 1), ("h200:8", 1, 8), ("h200:16x8", 16, 8)]
)
def test_each_gpu_is_one_device(monkeypatch, topology, hosts, gpus):
    monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION", raising=False)
    target = find_target(topology)
    found = [device.process_index for device in target.devices]
    assert found == [host for host in range(hosts) for _ in range(gpus)]
    chip = chip_of(target.devices[0].device_kind)
    assert target.chip == chip._replace(memory=0.75 * chip.memory)
    assert target.chips_a_host == gpus


@needs_cuda_plugin
def test_the_share_of_memory_that_jax_takes(monkeypatch):
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.95")
    assert find_target("h100:1").chip.memory == 0.95 * CHIPS["h100"].memory
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", "95%")
    with pytest.raises(InputError, match="XLA_PYTHON_CLIENT_MEM_FRACTION=95%"):
        find_target("h100:1")
