"""Devices of hosts with GPUs for the compiler (JAX's CUDA plugin), without any GPU or driver."""

import math
import os
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax
from jax.experimental import topologies

from harmony_jax.errors import InputError
from harmony_jax.planning.chips import CHIPS

MAX_GPUS = 1024
GPUS_A_HOST = 8  # an SXM board's


KINDS = {"h100": "NVIDIA H100 80GB HBM3", "h200": "NVIDIA H200"}  # as CUDA calls them

# XLA's GpuTargetConfigProto. What CUDA says of a GPU of compute capability 9.0 on an SXM board
# (132 multiprocessors), and NVIDIA's tuning guide for Hopper: 228 KB of shared memory each, of
# which a block can have 227, 64 K registers, 2,048 threads, 50 MB of L2. The libraries' versions
# decide what the compiler hands to cuDNN.
_DESCRIPTION = """
gpu_device_info {{
  name: "{name}"
  device_vendor: "NVIDIA Corporation"
  platform_version: "Compute Capability 9.0a"
  cuda_compute_capability {{ major: 9 feature_extension: ACCELERATED_FEATURES }}
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  device_memory_size: {memory}
  memory_bandwidth: {bandwidth}
  l2_cache_size: 52428800
  pcie_bandwidth: 34359738368
  ecc_enabled: true
  device_address_bits: 64
  shared_memory_per_core: 233472
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  threads_per_core_limit: 2048
  threads_per_block_limit: 1024
  threads_per_warp: 32
  thread_dim_limit_x: 1024
  thread_dim_limit_y: 1024
  thread_dim_limit_z: 64
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  driver_version: "{cuda}.0.0"
  runtime_version: "{cuda}.0.0"
  compile_time_toolkit_version: "{cuda}.0.0"
  dnn_version: "9.20.0"
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 20 patch: 0 }}
runtime_version {{ major: {cuda} minor: 0 patch: 0 }}
device_description_str: "{name}"
"""


def devices(name: str, kind: str, shape: Sequence[int]) -> list[Any]:
    """The GPUs of one or several hosts; neighbours are of the same host.

    Args:
        name: for messages: h200:16x8.
        kind: of KINDS.
        shape: GPUs of one host, or hosts and GPUs on each.

    Raises:
        InputError: JAX's CUDA plugin is not installed, or there are no such hosts.
    """
    if len(shape) > 2:
        raise InputError(f"--topology={name}: choose GPUs or hosts x GPUs, as in {kind}:16x8")
    hosts, gpus = shape if len(shape) == 2 else (1, shape[0])
    if not 1 <= gpus <= GPUS_A_HOST:
        raise InputError(
            f"--topology={name}: {gpus} GPUs on a host; choose 1 to {GPUS_A_HOST}, and for more "
            f"several hosts, as in {kind}:16x8"
        )
    if not 1 <= math.prod(shape) <= MAX_GPUS:
        raise InputError(f"--topology={name}: {math.prod(shape)} GPUs; choose 1 to {MAX_GPUS}")
    description = _DESCRIPTION.format(
        name=KINDS[kind],
        memory=int(CHIPS[kind].memory),
        bandwidth=int(CHIPS[kind].bandwidth),
        cuda=_cuda_version(),
    )
    # The compiler would print pages where a batch does not fit, which the plan says in one line.
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "1":  # JAX's own choice
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    try:
        found = topologies.get_topology_desc(
            platform="cuda",
            topology_name="",
            target_config=description,
            topology=f"1x{hosts}x{gpus}",  # slices x hosts x GPUs
        ).devices
    except (jax.errors.JaxRuntimeError, RuntimeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"--topology={name}: JAX's CUDA plugin refuses it ({reason}); jax {jax.__version__} is "
            "installed, and plans are tested with 0.10.2 to 0.12.0"
        ) from error
    return sorted(found, key=lambda device: (device.process_index, device.id))


def _cuda_version() -> int:
    """Of the plugin that is installed, in jax's version.

    Raises:
        InputError: none is.
    """
    for major in (13, 12):
        try:
            found = version(f"jax-cuda{major}-plugin")
            version(f"jax-cuda{major}-pjrt")
        except PackageNotFoundError:
            continue
        if found != jax.__version__:
            raise InputError(
                f"jax-cuda{major}-plugin {found} is not of jax's version {jax.__version__}: "
                f"{_install(major)}"
            )
        return major
    raise InputError(f"JAX's CUDA plugin, the GPUs' compiler, is missing: {_install(13)}")


def _install(major: int) -> str:
    return f"pip install 'jax[cuda{major}-local]=={jax.__version__}'"  # no NVIDIA libraries
