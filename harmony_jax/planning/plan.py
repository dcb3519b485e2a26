"""Plans a training on TPUs or GPUs that are not there: compiles its step and counts.

Times are a roofline: each resource at its published peak, waiting for nothing. A step takes at
least as long as the busiest of them, so images/s is an upper bound, and hours a lower one.
"""

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from harmony_jax.data.iharmony4 import COMPOSITES, PUBLISHED
from harmony_jax.devices import mesh as meshes
from harmony_jax.errors import InputError
from harmony_jax.planning import gpu_program
from harmony_jax.planning.chips import Chip
from harmony_jax.planning.hlo_text import instructions, memory_traffic
from harmony_jax.planning.step_traffic import Collective, collectives, required, surplus
from harmony_jax.planning.targets import Target
from harmony_jax.training.compiler_options import TUNED_FUSIONS
from harmony_jax.training.layout import TrainState
from harmony_jax.training.setup import abstract_batch, set_up

# Of a sample that is held: composite, real photo and mask; of photos the composite is made.
_CHANNELS, _CHANNELS_OF_PHOTOS = 7, 4

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


class Launches(NamedTuple):
    """What a GPU does in a step, one after the other.

    Attributes:
        kernels: and copies, by what they do (`gpu_program.kernels`).
        odd_convolutions: of these, with channels that are no multiple of 8.
        graphs: CUDA graphs that hold them; None if the compiler does not say.
    """

    kernels: dict[str, int]
    odd_convolutions: int
    graphs: gpu_program.Graphs | None


@dataclass(frozen=True)
class Plan:
    """What one compiled training step says. Numbers are of one chip unless they say otherwise.

    Attributes:
        target: the TPU slice or the hosts with GPUs.
        dtype: that the model computes in.
        batch_size: images a step over all chips.
        epochs: of the whole training.
        samples: of an epoch; None if the plan cannot know.
        memory: bytes of HBM.
        flops: arithmetic of a step; on GPUs convolutions and matrix products alone.
        bytes_moved: that the step's operations read from and write to HBM: each operand and result
            once, with the padding of the TPU's tiles, without what stays in on-chip memory.
        bytes_accessed: XLA's own count, which includes on-chip memory; None for GPUs.
        collectives: what a step sends between chips.
        surplus: values sent beyond what a step must send, by purpose (`step_traffic`).
        launches: of a GPU; None for TPUs, where a step is one program.
    """

    target: Target
    dtype: str
    batch_size: int
    epochs: int
    samples: int | None
    memory: Memory
    flops: float
    bytes_moved: int
    bytes_accessed: float | None
    collectives: list[Collective]
    surplus: dict[str, int]
    launches: Launches | None = None

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
        """What a chip sends at the least, by the link."""
        links, network = (
            sum((collective.sent()[way] for collective in self.collectives), 0.0) for way in (0, 1)
        )
        if self.target.platform == "tpu":
            return {"interconnect": links}
        if self.target.chips_a_host == self.chips:
            return {"NVLink": links}
        return {"NVLink": links, "network": network}

    @property
    def seconds(self) -> dict[str, float]:
        """Of a step, were it bound by one thing alone."""
        sent = self.bytes_sent.items()
        return {
            "compute": self.flops / self.chip.peak(self.dtype),
            "memory": self.bytes_moved / self.chip.bandwidth,
            **{link: sent_bytes / self._bandwidth(link) for link, sent_bytes in sent},
        }

    def _bandwidth(self, link: str) -> float:
        return self.chip.network if link == "network" else self.chip.links

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
    """Samples of an epoch that the config's data say without being read: iHarmony4's lists.

    Raises:
        InputError: a subset that there is not.
    """
    if data.name != "iharmony4":
        return None
    published = PUBLISHED["train"]
    if unknown := [name for name in data.subsets if name not in published]:
        raise InputError(f"data.subsets {unknown[0]!r}: choose of {', '.join(published)}")
    return sum(published[name] for name in data.subsets)


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


def plan_training(config: ConfigDict, target: Target, samples: int | None = None) -> Plan | None:
    """Compiles the config's training step for a target; None: it does not fit into the memory.

    Args:
        config: the run's.
        target: TPU slice or hosts with GPUs.
        samples: of an epoch; by default those that the config says (`training_samples`).

    Raises:
        InputError: as `lower_train_step`, or a `mesh` that the target cannot have.
    """
    chips = len(target.devices)
    shards = config.mesh.shards or chips
    if shards < 0 or chips % shards:
        raise InputError(f"mesh.shards {shards}: must divide the {chips} chips")
    if config.mesh.devices not in (0, chips):
        raise InputError(
            f"mesh.devices {config.mesh.devices}: {target.name} has {chips}: choose 0, all of them"
        )
    if samples is None:
        samples = training_samples(config.data)
    if samples is None and config.data.placement == "device":
        _LOGGER.warning(
            "The plan has no memory for the samples of data.name %s, %d bytes each over all chips: "
            "--samples says how many there are",
            config.data.name,
            resident_bytes_a_sample(config.data),
        )
    lowered, state = lower_train_step(config, meshes.mesh_of(target.devices, shards))
    _LOGGER.info("Compiling the step of %d images for %s", config.train.batch_size, target.name)
    try:
        compiled, launches = _compile(lowered, target.platform)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return None
    memory: Any = compiled.memory_analysis()
    cost: Any = compiled.cost_analysis()
    program = instructions(compiled.as_text() or "")
    parts = config.train.accumulate
    sent = collectives(program, chips, target.chips_a_host)
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
            _resident_bytes(config, samples) // chips,
        ),
        # XLA counts the body of the loop over parts once. For GPUs it does not count.
        flops=float(cost["flops"] * parts if cost else gpu_program.product_flops(program)),
        bytes_moved=sum(memory_traffic(instruction) for instruction in program),
        bytes_accessed=cost["bytes accessed"] * parts if cost else None,
        collectives=sent,
        surplus=surplus(sent, required(state, parts, tuple(config.optimizer.freeze))),
        launches=None
        if target.platform == "tpu"
        else Launches(
            gpu_program.kernels(program),
            gpu_program.odd_convolutions(program),
            gpu_program.graphs(launches) if launches else None,
        ),
    )
    return plan if sum(plan.memory) <= target.chip.memory else None


def _compile(lowered: jax.stages.Lowered, platform: str) -> tuple[jax.stages.Compiled, str]:
    """The program, and what of a GPU's XLA writes down that it launches."""
    if platform == "tpu":
        return lowered.compile(), ""
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {gpu_program.DUMP: folder}
        try:
            compiled = lowered.compile(compiler_options=options)
        except jax.errors.JaxRuntimeError as error:
            if "deviceless" not in str(error):
                raise
            # A product that cuBLAS is to compute, which needs a GPU to be asked. Where fusions are
            # tuned, others may compute it.
            compiled = lowered.compile(compiler_options=options | {TUNED_FUSIONS: "True"})
        return compiled, gpu_program.dumped_launches(Path(folder))


def find_largest_batch(
    config: ConfigDict, target: Target, samples: int | None = None
) -> list[Plan]:
    """Compiles batch after batch: doubled while they fit, then halving the gap to 1/8 of it.

    Args:
        config: its `train.batch_size` is where the search begins.
        target: TPU slice or hosts with GPUs.
        samples: as `plan_training`.

    Returns:
        A plan for each batch that fits, in the order of their sizes; the last is the largest.

    Raises:
        InputError: as `plan_training`.
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


def _resident_bytes(config: ConfigDict, samples: int | None) -> int:
    if config.data.placement != "device" or samples is None:
        return 0
    return samples * resident_bytes_a_sample(config.data)


def resident_bytes_a_sample(data: ConfigDict) -> int:
    """What a training sample takes in the memory of the devices (`data.placement` device)."""
    channels = _CHANNELS_OF_PHOTOS if data.name == "photos" else _CHANNELS
    return channels * data.resident_size**2
