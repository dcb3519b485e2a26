"""Plans a training on TPUs or GPUs that this machine does not have, from its compiled step.

Times are a roofline: each resource at its published peak, waiting for nothing. A step takes at
least as long as the busiest of them, so images/s is an upper bound, and hours a lower one.
"""

import logging
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from harmony_jax.data.batching import CHANNELS
from harmony_jax.data.iharmony4 import COMPOSITES
from harmony_jax.data.splits import data_set
from harmony_jax.devices import mesh as meshes
from harmony_jax.errors import InputError
from harmony_jax.planning import gpu_program
from harmony_jax.planning.chips import Chip
from harmony_jax.planning.collectives import Collective, collectives
from harmony_jax.planning.hlo import bytes_moved, operations
from harmony_jax.planning.targets import Target
from harmony_jax.training.compiler_options import TUNED_FUSIONS
from harmony_jax.training.setup import abstract_batch, set_up

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
        batch_size: images a step over all chips.
        samples: of an epoch; None if the plan cannot know.
        flops: arithmetic of a step; on GPUs convolutions and matrix products only.
        bytes_moved: read from and written to HBM by the step's operations: each operand and result
            once, with the padding of a TPU's tiles, without what stays in on-chip memory.
        kernels: kernels and copies of a GPU, by what they do; None for TPUs.
    """

    target: Target
    dtype: str
    batch_size: int
    epochs: int
    samples: int | None
    memory: Memory
    flops: float
    bytes_moved: int
    collectives: list[Collective]
    kernels: dict[str, int] | None = None

    @property
    def chip(self) -> Chip:
        return self.target.chip

    @property
    def chips(self) -> int:
        return len(self.target.devices)

    @property
    def chip_batch(self) -> int:
        return self.batch_size // self.chips

    @property
    def bytes_sent(self) -> dict[str, float]:
        """What a chip sends at least, by the link."""
        ways = [collective.sent() for collective in self.collectives]
        links, network = (sum((way[i] for way in ways), 0.0) for i in (0, 1))
        if self.target.platform == "tpu":
            return {"interconnect": links}
        one_host = self.target.chips_a_host == self.chips
        return {"NVLink": links} if one_host else {"NVLink": links, "network": network}

    @property
    def seconds(self) -> dict[str, float]:
        """Of a step, if one resource alone bounded it."""
        bandwidths = {"network": self.chip.network}
        return {
            "compute": self.flops / self.chip.peak(self.dtype),
            "memory": self.bytes_moved / self.chip.bandwidth,
            **{k: sent / bandwidths.get(k, self.chip.links) for k, sent in self.bytes_sent.items()},
        }

    @property
    def bound(self) -> str:
        return max(self.seconds, key=lambda resource: self.seconds[resource])

    @property
    def images_per_second(self) -> float:
        """Of all chips, at most."""
        return self.batch_size / max(self.seconds.values())

    @property
    def hours(self) -> float | None:
        """Of all epochs, at least; None if an epoch's samples are not known."""
        if self.samples is None:
            return None
        return self.epochs * self.samples / self.images_per_second / 3600


def training_samples(data: ConfigDict) -> int | None:
    """Samples of an epoch, if that is known without reading them."""
    return data_set(data.name).source.samples_to_train(data.subsets)


def resident_bytes_a_sample(data: ConfigDict) -> int:
    """What a training sample takes in the memory of the devices (`data.placement` device)."""
    pictures = data_set(data.name).source.pictures
    return sum(CHANNELS[key] for key in pictures) * data.resident_size**2


def lower_train_step(config: ConfigDict, mesh: Mesh) -> jax.stages.Lowered:
    """Traces the config's training step for a mesh, of any platform, without weights or data."""
    training = set_up(config, mesh, COMPOSITES)
    return training.step.lower(training.layout.vectors, abstract_batch(config, mesh))


def plan_training(config: ConfigDict, target: Target, samples: int | None = None) -> Plan | None:
    """Compiles the config's training step for a target; None: it does not fit into the memory.

    `samples` is the number in an epoch, by default as the config says (`training_samples`).
    """
    chips = len(target.devices)
    shards = config.mesh.shards or chips
    if shards < 0 or chips % shards:
        raise InputError(f"mesh.shards {shards}: must divide the {chips} chips")
    if config.mesh.devices not in (0, chips):
        raise InputError(
            f"mesh.devices {config.mesh.devices}: {target.name} has {chips}: choose 0, all of them"
        )
    samples = training_samples(config.data) if samples is None else samples
    resident = 0
    if config.data.placement == "device":
        resident = resident_bytes_a_sample(config.data) * (samples or 0) // chips
        if samples is None:
            _LOGGER.warning(
                "The plan counts no memory for the training samples, %d bytes each over all chips, "
                "because it does not know how many there are",
                resident_bytes_a_sample(config.data),
            )
    lowered = lower_train_step(config, meshes.mesh_of(target.devices, shards))
    _LOGGER.info("Compiling the step of %d images for %s", config.train.batch_size, target.name)
    compiled = _compile(lowered)
    if compiled is None:
        return None
    memory: Any = compiled.memory_analysis()
    cost: Any = compiled.cost_analysis()
    program = operations(compiled.as_text() or "")
    plan = Plan(
        target=target,
        dtype=config.model.dtype,
        batch_size=config.train.batch_size,
        epochs=config.train.epochs,
        samples=samples,
        memory=Memory(
            # The new state takes the place of the old one.
            memory.argument_size_in_bytes
            + memory.output_size_in_bytes
            - memory.alias_size_in_bytes,
            memory.temp_size_in_bytes,
            memory.generated_code_size_in_bytes,
            resident,
        ),
        # For GPUs XLA does not count, and of the loop over parts it counts the body once.
        flops=float(
            cost["flops"] * config.train.accumulate if cost else gpu_program.product_flops(program)
        ),
        bytes_moved=bytes_moved(program),
        collectives=collectives(program, chips, target.chips_a_host),
        kernels=gpu_program.kernels(program) if target.platform == "cuda" else None,
    )
    return plan if sum(plan.memory) <= target.chip.memory else None


def _compile(lowered: jax.stages.Lowered) -> jax.stages.Compiled | None:
    """The program; None: it does not fit into the memory."""
    try:
        try:
            return lowered.compile()
        except jax.errors.JaxRuntimeError as error:
            if "deviceless" not in str(error):
                raise
            # A product for which the compiler would ask cuBLAS, on a GPU. With tuned fusions
            # others may compute it.
            return lowered.compile(compiler_options={TUNED_FUSIONS: "True"})
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return None


def find_largest_batch(
    config: ConfigDict, target: Target, samples: int | None = None
) -> list[Plan]:
    """Compiles batch after batch: doubled while they fit, then halving the gap to 1/8 of it.

    The search begins at `train.batch_size`; arguments are those of `plan_training`.

    Returns:
        A plan for each batch that fits, in the order of their sizes.
    """
    config = config.copy_and_resolve_references()
    unit = len(target.devices) * config.train.accumulate
    tried: dict[int, Plan | None] = {}

    def fits(units: int) -> bool:
        if units not in tried:
            config.train.batch_size = units * unit
            tried[units] = plan = plan_training(config, target, samples)
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
