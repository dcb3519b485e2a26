"""What a training is planned for: a TPU slice or hosts with GPUs, without any of them."""

import os
from typing import Any, NamedTuple

from harmony_jax.errors import InputError
from harmony_jax.planning import gpu_hosts, tpu_slices
from harmony_jax.planning.chips import CHIPS, Chip

_SHARE = "XLA_PYTHON_CLIENT_MEM_FRACTION"


class Target(NamedTuple):
    """A slice of a TPU pod, such as v5e:4x4, or hosts with GPUs, such as h200:16x8.

    Attributes:
        name: as above.
        chip: each of its chips; `memory` is what a program can have of it.
        devices: for the compiler alone; neighbours are of the same host.
        platform: tpu or cuda.
        chips_a_host: what its links join; of a slice all chips.
    """

    name: str
    chip: Chip
    devices: list[Any]
    platform: str
    chips_a_host: int


def find_target(name: str) -> Target:
    """The slice or hosts of that name, without any TPU or GPU.

    Args:
        name: of TPUs chip and number of chips along each dimension: v5e:4x4, v5p:4x4x8. Of GPUs
            chip and number on one host, or hosts and number on each: h200:8, h200:16x8.

    Raises:
        InputError: there is no such target, or its compiler is not installed.
    """
    kind, _, shape = name.partition(":")
    chip = CHIPS.get(kind)
    sides = [int(side) if side.isdecimal() else -1 for side in shape.split("x")]
    if chip is None or min(sides) < 0:
        raise InputError(
            f"--topology={name}: choose {', '.join(CHIPS)} and a shape, as in v5e:4x4, v5p:4x4x8, "
            "h200:8 (GPUs of one host), h200:16x8 (hosts x GPUs)"
        )
    if kind in tpu_slices.KINDS:
        devices = tpu_slices.devices(name, kind, sides)
        return Target(name, chip, devices, "tpu", len(devices))
    devices = gpu_hosts.devices(name, kind, sides)
    usable = chip._replace(memory=chip.memory * _gpu_memory_share())
    return Target(name, usable, devices, "cuda", sides[-1])


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
