"""TPU chips and slices: what Google publishes of them, and their devices for the compiler."""

import importlib.util
import math
import os
import re
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies

from harmony_jax.errors import InputError

MAX_CHIPS = 256

_NAME = re.compile(r"(?P<chip>[a-z0-9]+):(?P<shape>\d+(x\d+){1,2})")
_HOST = (2, 2, 1)  # chips of a host that the compiler lays a slice out in


class Chip(NamedTuple):
    """One chip; both TensorCores of those with two, which programs see as one device.

    Attributes:
        flops: peak bfloat16 FLOP/s. Convolutions of float32 values run at this rate too: by
            default their operands are rounded to bfloat16.
        memory: bytes of HBM that a program can have.
        bandwidth: bytes/s between HBM and the cores.
        links: bytes/s that a chip can send to its neighbours, all links together (and receive as
            many at the same time).
        dimensions: of the torus or mesh of a slice.
        config_name: what makes the compiler see a chip as one device.
    """

    flops: float
    memory: float
    bandwidth: float
    links: float
    dimensions: int
    config_name: str = "default"


# Bandwidths and FLOP/s: https://cloud.google.com/tpu/docs/v4, .../v5e, .../v5p and .../v6e, "System
# architecture". The links' is that of one direction, half of the pages' bidirectional one: v5e 400
# GB/s (and 1600 Gb/s in one), v6e 800 GB/s; v5p 4800 Gb/s in one. The page of v4 gives only the
# all-reduce bandwidth of its 4,096 chips, 1.1 PB/s, which for v5e and v6e is the sum of these.
# Memory: what libtpu 0.0.42 says is available when a program does not fit; the pages give 32 GiB,
# 16 GB, 95 GB and 32 GB.
_GIB = 2**30
CHIPS = {
    "v4": Chip(275e12, 30.75 * _GIB, 1200e9, 1.1e15 / 4096, 3, "megacore"),
    "v5e": Chip(197e12, 15.75 * _GIB, 819e9, 200e9, 2),
    "v5p": Chip(459e12, 95.74 * _GIB, 2765e9, 600e9, 3),
    "v6e": Chip(918e12, 31.25 * _GIB, 1638e9, 400e9, 2),
}


class Slice(NamedTuple):
    """A slice of a pod, such as v5e:4x4."""

    name: str
    chip: Chip
    devices: list[Any]  # for the compiler alone; neighbours are of the same host


def find_slice(name: str) -> Slice:
    """The slice of that name, without any TPU.

    Args:
        name: chip and number of chips along each dimension: v5e:4x4, v5p:4x4x8.

    Raises:
        InputError: libtpu is not installed, or there is no such slice of up to 256 chips.
    """
    match = _NAME.fullmatch(name)
    chip = CHIPS.get(match["chip"]) if match else None
    if match is None or chip is None:
        raise InputError(
            f"--topology={name}: choose {', '.join(CHIPS)} and a shape, as in v5e:4x4, v5p:4x4x8"
        )
    shape = [int(side) for side in match["shape"].split("x")]
    if len(shape) != chip.dimensions:
        raise InputError(
            f"--topology={name}: a slice of {match['chip']} has {chip.dimensions} dimensions"
        )
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
        devices = topologies.get_topology_desc(
            platform="tpu",
            topology_name=name,
            chip_config_name=chip.config_name,
            chips_per_host_bounds=[min(pair) for pair in zip(sides, _HOST, strict=True)],
        ).devices
    except (jax.errors.JaxRuntimeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"--topology={name}: libtpu has no such slice ({reason})") from error
    return Slice(name, chip, sorted(devices, key=lambda device: (device.process_index, device.id)))
