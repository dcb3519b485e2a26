"""TPU slices and hosts with GPUs as the compilers (libtpu, JAX's CUDA plugin) know them."""

import importlib.util
import math
import os
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies

from harmony_jax.errors import InputError
from harmony_jax.planning.chips import CHIPS, Chip

_MAX_TPUS, _MAX_GPUS = 256, 1024
_GPUS_A_HOST = 8  # an SXM board's
_TPUS_OF_A_HOST = (2, 2, 1)  # as the compiler lays a slice out

# libtpu would look for a TPU, its metadata server and its lock; to compile it needs none.
_WITHOUT_TPU = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}

_SHARE = "XLA_PYTHON_CLIENT_MEM_FRACTION"

# XLA's GpuTargetConfigProto. What CUDA says of a GPU of compute capability 9.0 on an SXM board
# (132 multiprocessors), and NVIDIA's tuning guide for Hopper: 228 KB of shared memory each, of
# which a block can have 227, 64 K registers, 2,048 threads, 50 MB of L2. The libraries' versions
# decide what the compiler hands to cuDNN.
_GPU = """
gpu_device_info {{
  name: "{name}" device_vendor: "NVIDIA Corporation"
  platform_version: "Compute Capability 9.0a"
  cuda_compute_capability {{ major: 9 feature_extension: ACCELERATED_FEATURES }}
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  device_memory_size: {memory} memory_bandwidth: {bandwidth}
  l2_cache_size: 52428800 pcie_bandwidth: 34359738368 ecc_enabled: true device_address_bits: 64
  shared_memory_per_core: 233472
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  threads_per_core_limit: 2048 threads_per_block_limit: 1024 threads_per_warp: 32
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  driver_version: "{cuda}.0.0" runtime_version: "{cuda}.0.0"
  compile_time_toolkit_version: "{cuda}.0.0" dnn_version: "9.20.0"
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 20 patch: 0 }}
runtime_version {{ major: {cuda} minor: 0 patch: 0 }}
device_description_str: "{name}"
"""


class Target(NamedTuple):
    """A slice of a TPU pod, such as v5e:4x4, or hosts with GPUs, such as h200:16x8.

    Attributes:
        name: as above.
        chip: each of its chips; `memory` is what a program can have of it.
        devices: for the compiler only; neighbours are of the same host.
        platform: tpu or cuda.
        chips_a_host: chips that the links join; all chips of a slice.
    """

    name: str
    chip: Chip
    devices: list[Any]
    platform: str
    chips_a_host: int


def find_target(name: str) -> Target:
    """The slice or hosts of that name, without any TPU or GPU.

    Args:
        name: of TPUs, chip and number of chips along each dimension: v5e:4x4, v5p:4x4x8. Of GPUs,
            chip and number on one host, or hosts and number on each: h200:8, h200:16x8.

    Raises:
        InputError: there is no such target, or its compiler is not installed.
    """
    kind, _, shape = name.partition(":")
    chip = CHIPS.get(kind)
    sides = [int(side) if side.isdecimal() else -1 for side in shape.split("x")]
    if chip is None or min(sides) < 0:
        raise InputError(
            f"topology {name}: choose {', '.join(CHIPS)} and a shape, as in v5e:4x4, v5p:4x4x8, "
            "h200:8 (GPUs of one host), h200:16x8 (hosts x GPUs)"
        )
    count, limit = math.prod(sides), _MAX_TPUS if chip.dimensions else _MAX_GPUS
    if not 1 <= count <= limit:
        raise InputError(f"topology {name}: {count} chips: choose 1 to {limit}")
    find = _tpus if chip.dimensions else _gpus
    try:
        devices = find(name, chip, sides)
    except (jax.errors.JaxRuntimeError, RuntimeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"topology {name}: the compiler has no such devices ({reason})") from error
    devices = sorted(devices, key=lambda device: (device.process_index, device.id))
    if chip.dimensions:
        return Target(name, chip, devices, "tpu", count)
    usable = chip._replace(memory=chip.memory * _gpu_memory_share())
    return Target(name, usable, devices, "cuda", sides[-1])


def _tpus(name: str, chip: Chip, shape: Sequence[int]) -> Sequence[Any]:
    if len(shape) != chip.dimensions:
        raise InputError(f"topology {name}: a slice of it has {chip.dimensions} dimensions")
    if importlib.util.find_spec("libtpu") is None:
        raise InputError("libtpu, the TPU compiler, is missing: pip install 'harmony_jax[tpu]'")
    for variable, value in _WITHOUT_TPU.items():
        os.environ.setdefault(variable, value)
    sides = zip([*shape, 1][:3], _TPUS_OF_A_HOST, strict=True)
    return topologies.get_topology_desc(
        platform="tpu",
        topology_name=name,
        # What makes the compiler see a chip as one device.
        chip_config_name="megacore" if name.startswith("v4") else "default",
        chips_per_host_bounds=[min(pair) for pair in sides],
    ).devices


def _gpus(name: str, chip: Chip, shape: Sequence[int]) -> Sequence[Any]:
    if len(shape) > 2 or shape[-1] > _GPUS_A_HOST:
        raise InputError(
            f"topology {name}: choose up to {_GPUS_A_HOST} GPUs of a host, or hosts x GPUs, as in "
            "h200:16x8"
        )
    description = _GPU.format(
        name=chip.kinds[0],
        memory=int(chip.memory),
        bandwidth=int(chip.bandwidth),
        cuda=_cuda_version(),
    )
    # The compiler would print pages where a batch does not fit, which the plan says in one line.
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "1":  # JAX's own choice
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    return topologies.get_topology_desc(
        platform="cuda",
        topology_name="",
        target_config=description,
        topology="x".join(map(str, (1, 1, *shape)[-3:])),  # slices x hosts x GPUs
    ).devices


def _cuda_version() -> int:
    """Of the plugin that is installed, which must be of jax's version."""
    for major in (13, 12):
        try:
            found = version(f"jax-cuda{major}-plugin")
            version(f"jax-cuda{major}-pjrt")
        except PackageNotFoundError:
            continue
        if found == jax.__version__:
            return major
        raise InputError(
            f"jax-cuda{major}-plugin {found} is not of jax's version {jax.__version__}: pip "
            f"install 'jax[cuda{major}-local]=={jax.__version__}'"
        )
    # Without NVIDIA's libraries, which compiling does not need.
    raise InputError(
        "JAX's CUDA plugin, the GPUs' compiler, is missing: pip install "
        f"'jax[cuda13-local]=={jax.__version__}'"
    )


def _gpu_memory_share() -> float:
    """What JAX takes of a GPU's memory, read from the environment as JAX does."""
    text = os.environ.get(_SHARE, "0.75")
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise InputError(f"{_SHARE}={text}: expected a share of a GPU's memory, 0.75 if not set")
    return share
