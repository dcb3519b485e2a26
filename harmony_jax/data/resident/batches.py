"""Training batches from samples decoded once; crop, flip and resize run on the devices."""

import logging
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int
from tqdm import tqdm

from harmony_jax.data.batching import Augmentation, BatchOrder, DeviceBatch, Reading
from harmony_jax.data.composites.compose import compose_with_jax
from harmony_jax.data.composites.parameters import Parameters
from harmony_jax.data.resident.compositing import Compositing, share_statistics
from harmony_jax.data.resident.lanes import Lanes
from harmony_jax.data.resident.store import Decoder, Stored, store_on_devices, store_on_host
from harmony_jax.data.resident.transforms import draw_crop, resample, sampling_positions
from harmony_jax.data.sources import Numbered, Source
from harmony_jax.devices import mesh as meshes

_RANDOM_STREAM = 1  # of the augmentation; dropout has the same seed
_AXIS = "lane"

_LOGGER = logging.getLogger(__name__)


class ResidentBatches:
    """Endless augmented batches on the devices, from samples decoded once.

    Besides its pictures a batch has `index` [batch], each sample's number in the source. They are
    augmented as by `RandomCropAndFlip` and ordered by `Lanes`. Step, seed and source determine a
    batch, on any number of devices and processes; each process decodes, holds and computes the
    rows of its own devices, and nothing is communicated.

    Args:
        source: samples to train on, at least one batch. Where these have `index` and `unreadable`,
            as those of `Numbered`, the first is the batch's and the second is collected.
        augmentation: of the samples.
        order: of the batches.
        mesh: the devices of all processes, whose number divides the batch.
        reading: all of it; decoding takes threads, two where `num_workers` is 0. Samples in the
            memory of the `host` are sent to the devices at every step.

    Attributes:
        unreadable: numbers of this process's samples that others stand in for.

    Raises:
        InputError: too little memory, or a sample that cannot be read.
    """

    def __init__(
        self,
        source: Source | Numbered,
        augmentation: Augmentation,
        order: BatchOrder,
        mesh: Mesh,
        reading: Reading,
    ):
        self._step = order.start_step
        self._lanes = Lanes(len(source), order.batch_size, order.seed)
        self._augment = DeviceAugmentation(augmentation, order, mesh)
        own = [self._lanes.samples[row] for row in self._augment.rows]
        count, slots = sum(map(len, own)), self._lanes.slots
        with tqdm(total=count, desc="decoding", unit=" samples", disable=None) as bar:
            decoder = Decoder(source, own, reading, augmentation.pictures, bar.update)
            gigabytes = slots * decoder.bytes_per_slot / 1e9
            _LOGGER.info("Decoding %d samples to %.1f GB", count, gigabytes)
            if reading.placement == "device":
                self._stored = store_on_devices(decoder, slots, self._augment.sharding)
            else:
                self._stored = store_on_host(decoder, slots)
        self._numbers = decoder.numbers
        self._compositing = compositing_of(source, augmentation, order, self._augment.rows)
        if self._compositing:
            share_statistics(self._compositing.photos, np.concatenate(self._numbers).tolist())
        self._on_host = reading.placement == "host"
        self.unreadable = decoder.unreadable
        self._unreported = set(decoder.unreadable)

    def __iter__(self) -> Iterator[DeviceBatch]:
        return self

    def __next__(self) -> DeviceBatch:
        slots = self._lanes.slots_at(self._step)[self._augment.rows]
        stored = self._stored
        parameters = None
        if self._compositing:
            pairs = zip(self._numbers, slots.tolist(), strict=True)
            numbers = [int(lane[slot]) for lane, slot in pairs]
            parameters = self._compositing.parameters(self._step, numbers)
        if self._on_host:
            stored = Stored(*(array[np.arange(len(slots)), slots, None] for array in stored))
            slots = np.zeros_like(slots)
        arrays = self._augment(stored, slots, self._step, parameters)
        self._step += 1
        unreadable, self._unreported = self._unreported, set()  # found while all were decoded
        return DeviceBatch(arrays, unreadable)

    def close(self) -> None:
        """Frees the samples; there is no batch after it."""
        del self._stored

    @classmethod
    def first_rows(
        cls,
        source: Source | Numbered,
        augmentation: Augmentation,
        order: BatchOrder,
        mesh: Mesh,
        reading: Reading,
    ) -> dict[str, np.ndarray]:
        """This process's rows of the first batch, on the host; no other sample is decoded."""
        lanes = Lanes(len(source), order.batch_size, order.seed)
        augment = DeviceAugmentation(augmentation, order, mesh)
        slots = lanes.slots_at(order.start_step)
        own = [lanes.samples[row][slots[row], None] for row in augment.rows]
        decoder = Decoder(source, own, reading, augmentation.pictures)
        stored = store_on_host(decoder, 1)
        parameters = None
        if compositing := compositing_of(source, augmentation, order, augment.rows):
            numbers = np.concatenate(decoder.numbers).tolist()
            parameters = compositing.parameters(order.start_step, numbers)
        made = augment(stored, np.zeros(len(own), np.int32), order.start_step, parameters)
        return {key: _own_rows(array) for key, array in made.items()}


def compositing_of(
    source: Source | Numbered, augmentation: Augmentation, order: BatchOrder, rows: np.ndarray
) -> Compositing | None:
    """What draws composites; None where samples come with theirs."""
    if augmentation.recipe is None:
        return None
    return Compositing(augmentation.recipe, order, rows, cast(Numbered, source))


def _own_rows(array: jax.Array) -> np.ndarray:
    """The rows of a sharded array that this process holds, in order."""
    shards = {shard.index[0].start or 0: shard.data for shard in array.addressable_shards}
    return np.concatenate([np.asarray(shards[start]) for start in sorted(shards)])


class DeviceAugmentation:
    """Makes the batch of a step from stored samples, each device its own rows.

    Args:
        augmentation: of the samples.
        order: its batch size, and the seed, with step and row, of a sample's crop and flip.
        mesh: the devices of all processes.

    Attributes:
        rows: the rows of the batch that this process's devices hold.
        sharding: of stored samples, over this process's devices.
    """

    def __init__(self, augmentation: Augmentation, order: BatchOrder, mesh: Mesh):
        self._batch_size, self._result = order.batch_size, meshes.sharded(mesh)
        parts = self._result.addressable_devices_indices_map((order.batch_size,))
        self.rows = np.concatenate([np.arange(order.batch_size)[part] for part in parts.values()])
        # Of this process's devices alone: programs that several processes share must start in one
        # order in all of them, and this one starts beside the training step.
        own = Mesh(np.array(list(parts)), (_AXIS,))
        self.sharding = NamedSharding(own, PartitionSpec(_AXIS))
        self._row_numbers = jax.device_put(self.rows.astype(np.int32), self.sharding)
        self._programs = compile_augmentation(own, augmentation, order.seed)

    def __call__(
        self,
        stored: Stored,
        slots: Int[np.ndarray, " rows"],
        step: int,
        parameters: Parameters | None = None,
    ) -> dict[str, jax.Array]:
        """The batch of the given slots of this process's lanes, after `step` steps.

        `parameters` are those of the composites, where these are still to be made.
        """
        stored, chosen, parameters = jax.device_put((stored, slots, parameters), self.sharding)
        choose, resize, divide = self._programs
        pixels, rows, columns, index = choose(stored, self._row_numbers, chosen, np.int32(step))
        own = {**divide(resize(pixels, rows, columns), parameters), "index": index}
        return {
            key: jax.make_array_from_single_device_arrays(
                (self._batch_size, *array.shape[1:]),
                self._result,
                [shard.data for shard in array.addressable_shards],
            )
            for key, array in own.items()
        }


class Programs(NamedTuple):
    """The parts of the augmentation, in their order.

    They are three as XLA:CPU would fuse them, and compute each pixel's position anew from the crop
    and its neighbours anew for each output: 5 ms a sample for resizing instead of 0.7.
    """

    choose: jax.stages.Wrapped  # stored, row numbers, slots, step to pixels, rows, columns, index
    resize: jax.stages.Wrapped  # pixels, rows, columns to [batch, channels, size, size]
    divide: jax.stages.Wrapped  # that, and parameters, to composite, real photo and mask


@cache  # compiling takes seconds
def compile_augmentation(mesh: Mesh, augmentation: Augmentation, seed: int) -> Programs:
    """The augmentation of rows divided over a mesh of one axis.

    With row and step, the seed decides crops and flips.
    """
    image_size, crop, flip, _ = augmentation
    # Named, as the default may be another generator, which would draw other crops.
    stream = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), _RANDOM_STREAM)

    def choose(
        stored: Stored, rows: Int[Array, " rows"], slots: Int[Array, " rows"], step: Int[Array, ""]
    ) -> tuple[Array, ...]:
        pixels, sizes, index = (jax.vmap(lambda lane, slot: lane[slot])(a, slots) for a in stored)
        keys = jax.vmap(partial(jax.random.fold_in, jax.random.fold_in(stream, step)))(rows)
        draw = jax.vmap(partial(draw_crop, image_size=image_size, crop=crop, flip=flip))
        crops, flips = draw(pixels[:, -1], sizes, keys)
        positions = sampling_positions(sizes, crops, flips, pixels.shape[-1], image_size)
        return pixels, *positions, index

    def divide(result: Array, parameters: Parameters | None) -> dict[str, Array]:
        if parameters is None:
            composite, real, mask = result[:, :3], result[:, 3:6], result[:, 6]
        else:
            real = result[:, :3]
            composite, mask = compose_with_jax(result, parameters)
        photos = {"composite": composite, "real": real}
        return {key: jnp.moveaxis(photo, 1, -1) for key, photo in photos.items()} | {"mask": mask}

    lanes, whole = PartitionSpec(_AXIS), PartitionSpec()

    def compiled(function: Callable, *in_specs: PartitionSpec) -> jax.stages.Wrapped:
        # Mapped, so that nothing is left to the compiler: a device sees its own lanes only.
        mapped = jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=lanes)
        return jax.jit(mapped)

    return Programs(
        compiled(choose, lanes, lanes, lanes, whole),
        compiled(resample, lanes, lanes, lanes),
        compiled(divide, lanes, lanes),
    )
