"""Devices of TPU slices for the compiler (libtpu), without any TPU."""

import importlib.util
import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies

from harmony_jax.errors import InputError

MAX_CHIPS = 256

_HOST = (2, 2, 1)  # chips of a host that the compiler lays a slice out in


class _Kind(NamedTuple):
    dimensions: int  # of the torus or mesh of a slice
    config_name: str = "default"  # what makes the compiler see a chip as one device


KINDS = {"v4": _Kind(3, "megacore"), "v5e": _Kind(2), "v5p": _Kind(3), "v6e": _Kind(2)}


def devices(name: str, kind: str, shape: Sequence[int]) -> list[Any]:
    """The slice's devices; neighbours are of the same host.

    Args:
        name: of the slice, v5e:4x4, for libtpu and for messages.
        kind: of KINDS.
        shape: chips along each dimension.

    Raises:
        InputError: libtpu is not installed, or there is no such slice of up to 256 chips.
    """
    dimensions, config_name = KINDS[kind]
    if len(shape) != dimensions:
        raise InputError(f"--topology={name}: a slice of {kind} has {dimensions} dimensions")
    count = math.prod(shape)
    if not 1 <= count <= MAX_CHIPS:
        raise InputError(f"--topology={name}: {count} chips; choose 1 to {MAX_CHIPS}")
    if importlib.util.find_spec("libtpu") is None:
        raise InputError("libtpu, the TPU compiler, is missing: pip install 'harmony_jax[tpu]'")
    # libtpu would look for a TPU, its metadata server and its lock; to compile it needs none.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    sides = [*shape, 1][:3]
    try:
        found = topologies.get_topology_desc(
            platform="tpu",
            topology_name=name,
            chip_config_name=config_name,
            chips_per_host_bounds=[min(pair) for pair in zip(sides, _HOST, strict=True)],
        ).devices
    except (jax.errors.JaxRuntimeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"--topology={name}: libtpu has no such slice ({reason})") from error
    return sorted(found, key=lambda device: (device.process_index, device.id))
