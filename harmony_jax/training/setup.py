"""Puts a training together from its config: schedule, optimizer, model, loss, state and step."""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from harmony_jax.build import build_model
from harmony_jax.config_ranges import check_config
from harmony_jax.devices import mesh as meshes
from harmony_jax.losses import create_loss
from harmony_jax.models import HarmonizationModel
from harmony_jax.models.channel_padding import pad_channels
from harmony_jax.training.averaging import exchanged, with_average
from harmony_jax.training.compiler_options import compiler_options
from harmony_jax.training.freezing import freeze_parts
from harmony_jax.training.initialization import initialize
from harmony_jax.training.layout import Layout, TrainState, shardings_of
from harmony_jax.training.optimizer import create_optimizer, learning_rate_schedule
from harmony_jax.training.step import StepParts, TrainStep, make_train_step
from harmony_jax.variables import Variables

# In a step, ready for the next two (`Ahead`), and being made.
_BATCHES = 4


@dataclass(frozen=True)
class Training:
    """What a config trains on a mesh, before any of its arrays exists; see `set_up`.

    Attributes:
        config: the run's.
        mesh: its devices, real ones or a topology's.
        steps_per_epoch: need not be whole: epochs follow one another without a gap.
        schedule: the learning rate, by steps already done.
        model: the structure alone, in training mode except for its frozen parts.
        layout: of the state: its arrays' shapes, types and shardings.
        step: the jitted step, compiled when it is first called or lowered.
    """

    config: ConfigDict
    mesh: Mesh
    steps_per_epoch: float
    schedule: optax.Schedule
    model: HarmonizationModel
    layout: Layout
    step: TrainStep

    @property
    def total_steps(self) -> int:
        return math.floor(self.config.train.epochs * self.steps_per_epoch)

    def epoch_ends(self, every_epochs: int) -> set[int]:
        """Steps that complete each so many epochs, and the last step; none for 0 epochs."""
        if every_epochs <= 0:
            return set()
        count = math.ceil(self.total_steps / (every_epochs * self.steps_per_epoch))
        ends = {math.floor(n * every_epochs * self.steps_per_epoch) for n in range(1, count)}
        return (ends - {0}) | {self.total_steps}

    def begin(self) -> TrainState:
        """The state before the first step (`harmony_jax.training.initialization`)."""
        model = build_model(self.config)
        initialize(model, self.config.init, meshes.replicated(self.mesh))
        return self.layout.begin(model)

    def compile_step(self) -> int:
        """Compiles the step now; its first call then uses the program.

        Returns:
            Bytes of each device's memory that a step needs besides the state: intermediate results,
            the program, and the batches that are ready or being made.
        """
        batch = abstract_batch(self.config, self.mesh)
        stats = self.step.lower(self.layout.vectors, batch).compile().memory_analysis()
        if stats is None:  # not known on every platform
            return 0
        one = sum(leaf.size for leaf in jax.tree.leaves(batch)) // self.mesh.size  # of bytes
        return (
            stats.temp_size_in_bytes
            + stats.generated_code_size_in_bytes
            + stats.output_size_in_bytes
            - stats.alias_size_in_bytes  # the new state takes the place of the old one
            + _BATCHES * one
        )

    def variables_to_show(self, state: TrainState) -> Variables:
        """The model's variables for validation: with the average of the parameters, if any."""
        trees = self.layout.as_trees(state)
        shown, _ = exchanged(trees.variables, trees.optimizer)
        return jax.tree.map(
            lambda leaf, place: leaf if isinstance(leaf, jax.Array) else meshes.place(leaf, place),
            shown,
            shardings_of(self.layout.trees.variables),
        )


def set_up(config: ConfigDict, mesh: Mesh, samples: int) -> Training:
    """Puts a training together; nothing is initialised or compiled.

    `samples` is the size of the training set. The mesh's devices may be those of a topology.
    """
    check_config(config)
    batch_size, parts = config.train.batch_size, config.train.accumulate
    meshes.check_batch_size("train.batch_size", batch_size, mesh, parts)
    steps_per_epoch = samples / batch_size
    schedule = learning_rate_schedule(config, steps_per_epoch)
    optimizer = with_average(create_optimizer(config.optimizer, schedule), config.train.ema_decay)
    loss = create_loss(config.loss)
    model: Any = nnx.eval_shape(lambda: build_model(config))
    frozen = tuple(config.optimizer.freeze)
    freeze_parts(model, frozen)
    pad_channels(model, mesh.devices.flat[0].platform)
    layout = Layout(model, optimizer, mesh, frozen)
    compiler = compiler_options(config.train.compiler_options, mesh)
    recompute = config.train.recompute
    made = StepParts(layout, loss, optimizer, mesh, config.seed, parts, recompute, frozen, compiler)
    step = make_train_step(made)
    return Training(config, mesh, steps_per_epoch, schedule, model, layout, step)


def abstract_batch(config: ConfigDict, mesh: Mesh) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes, types and shardings of a batch: uint8 composite, real photo and mask."""
    side, sharding = config.data.image_size, meshes.sharded(mesh)
    shape = (config.train.batch_size, side, side)
    pixels = jax.ShapeDtypeStruct((*shape, 3), jnp.uint8, sharding=sharding)
    mask = jax.ShapeDtypeStruct(shape, jnp.uint8, sharding=sharding)
    return {"composite": pixels, "real": pixels, "mask": mask}
