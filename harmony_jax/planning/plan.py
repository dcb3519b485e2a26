"""Plans a training on a TPU slice, with no TPU: compiles its step ahead of time and counts.

Times are a roofline: each resource at its published peak, waiting for nothing. A step takes at
least as long as the busiest of the three, so images/s is an upper bound, and hours a lower one.
"""

import logging
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from harmony_jax.data.iharmony4 import COMPOSITES
from harmony_jax.devices import mesh as meshes
from harmony_jax.errors import InputError
from harmony_jax.planning.chips import Chip, Slice
from harmony_jax.planning.hlo_text import instructions, memory_traffic
from harmony_jax.planning.step_traffic import Collective, collectives, required, surplus
from harmony_jax.training.layout import TrainState
from harmony_jax.training.setup import abstract_batch, set_up

_CHANNELS = 7  # of a sample: composite, real photo and mask

_LOGGER = logging.getLogger(__name__)


class Memory(NamedTuple):
    """Bytes of HBM on each chip.

    Attributes:
        state: parameters, statistics, optimizer and the batch.
        temporaries: the most that the step needs at once besides.
        program: the compiled step itself.
        samples: the chip's share of the training data, with `data.placement` device.
    """

    state: int
    temporaries: int
    program: int
    samples: int


@dataclass(frozen=True)
class Plan:
    """What one compiled training step says. Numbers are of one chip unless they say otherwise.

    Attributes:
        topology: of the slice, v5e:4x4.
        chip: its published numbers.
        chips: in the slice.
        batch_size: images a step over all chips.
        epochs: of the whole training.
        memory: bytes of HBM.
        flops: arithmetic of a step.
        bytes_moved: that the step's operations read from and write to HBM: each operand and result
            once, with the padding of the TPU's tiles, without what stays in on-chip memory.
        bytes_accessed: XLA's own count, which includes on-chip memory.
        collectives: what a step sends between chips.
        surplus: values sent beyond what a step must send, by purpose (`step_traffic`).
    """

    topology: str
    chip: Chip
    chips: int
    batch_size: int
    epochs: int
    memory: Memory
    flops: float
    bytes_moved: int
    bytes_accessed: float
    collectives: list[Collective]
    surplus: dict[str, int]

    @property
    def chip_batch(self) -> int:
        return self.batch_size // self.chips

    @property
    def bytes_sent(self) -> float:
        """What a chip sends at the least: an all-reduce passes all but its own share on twice."""
        share = (self.chips - 1) / self.chips
        return sum(
            (2 if collective.kind == "all-reduce" else 1) * collective.bytes * share
            for collective in self.collectives
        )

    @property
    def seconds(self) -> dict[str, float]:
        """Of a step, were it bound by one thing alone."""
        return {
            "compute": self.flops / self.chip.flops,
            "memory": self.bytes_moved / self.chip.bandwidth,
            "interconnect": self.bytes_sent / self.chip.links,
        }

    @property
    def bound(self) -> str:
        return max(self.seconds, key=lambda resource: self.seconds[resource])

    @property
    def images_per_second(self) -> float:
        """Of the slice, at most."""
        return self.batch_size / max(self.seconds.values())

    @property
    def hours(self) -> float:
        """Of all epochs of iHarmony4's training composites, at least."""
        return self.epochs * COMPOSITES / self.images_per_second / 3600


def lower_train_step(config: ConfigDict, mesh: Mesh) -> tuple[Any, TrainState]:
    """Traces the config's training step for a mesh, of any platform, without weights or data.

    Returns:
        `jax.stages.Lowered`, and the state's shapes, types and shardings, as trees.

    Raises:
        InputError: the config cannot be trained, or not on as many devices.
    """
    training = set_up(config, mesh, COMPOSITES)
    layout = training.layout
    return training.step.lower(layout.vectors, abstract_batch(config, mesh)), layout.trees


def plan_training(config: ConfigDict, tpu: Slice) -> Plan | None:
    """Compiles the config's training step for a slice; None: it does not fit into the memory.

    Raises:
        InputError: as `lower_train_step`, or a `mesh` that the slice cannot have.
    """
    chips = len(tpu.devices)
    shards = config.mesh.shards or chips
    if shards < 0 or chips % shards:
        raise InputError(f"mesh.shards {shards}: must divide the {chips} chips")
    if config.mesh.devices not in (0, chips):
        raise InputError(
            f"mesh.devices {config.mesh.devices}: {tpu.name} has {chips}: choose 0, all of them"
        )
    lowered, state = lower_train_step(config, meshes.mesh_of(tpu.devices, shards))
    _LOGGER.info("Compiling the step of %d images for %s", config.train.batch_size, tpu.name)
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return None
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    program = instructions(compiled.as_text())
    parts = config.train.accumulate
    sent = collectives(program)
    plan = Plan(
        topology=tpu.name,
        chip=tpu.chip,
        chips=chips,
        batch_size=config.train.batch_size,
        epochs=config.train.epochs,
        memory=Memory(
            # The new state takes the place of the old one.
            memory.argument_size_in_bytes
            + memory.output_size_in_bytes
            - memory.alias_size_in_bytes,
            memory.temp_size_in_bytes,
            memory.generated_code_size_in_bytes,
            _resident_bytes(config) // chips,
        ),
        # XLA counts the body of the loop over parts once.
        flops=cost["flops"] * parts,
        bytes_moved=sum(memory_traffic(instruction) for instruction in program),
        bytes_accessed=cost["bytes accessed"] * parts,
        collectives=sent,
        surplus=surplus(sent, required(state, parts, tuple(config.optimizer.freeze))),
    )
    return plan if sum(plan.memory) <= tpu.chip.memory else None


def find_largest_batch(config: ConfigDict, tpu: Slice) -> list[Plan]:
    """Compiles batch after batch: doubled while they fit, then halving the gap to 1/8 of it.

    Args:
        config: its `train.batch_size` is where the search begins.
        tpu: the slice.

    Returns:
        A plan for each batch that fits, in the order of their sizes; the last is the largest.

    Raises:
        InputError: as `plan_training`.
    """
    config = config.copy_and_resolve_references()
    unit = len(tpu.devices) * config.train.accumulate
    tried: dict[int, Plan | None] = {}

    def fits(units: int) -> bool:
        if units not in tried:
            config.train.batch_size = units * unit
            tried[units] = plan = plan_training(config, tpu)
            outcome = f"{plan.images_per_second:,.0f} images/s" if plan else "does not fit"
            _LOGGER.info("batch %d: %s", units * unit, outcome)
        return tried[units] is not None

    fitting = max(config.train.batch_size // unit, 1)
    while fitting and not fits(fitting):
        fitting //= 2
    if not fitting:
        return []
    failing = 2 * fitting
    while fits(failing):
        fitting, failing = failing, 2 * failing
    while failing - fitting > max(fitting // 8, 1):
        middle = (fitting + failing) // 2
        fitting, failing = (middle, failing) if fits(middle) else (fitting, middle)
    return [plan for _, plan in sorted(tried.items()) if plan is not None]


def _resident_bytes(config: ConfigDict) -> int:
    if config.data.placement != "device":
        return 0
    return COMPOSITES * _CHANNELS * config.data.resident_size**2
