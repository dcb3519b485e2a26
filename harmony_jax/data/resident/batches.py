"""Training batches from samples decoded once; crop, flip and resize run on the devices."""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int
from tqdm import tqdm

from harmony_jax.data.batching import Augmentation, BatchOrder
from harmony_jax.data.composites.compose import compose_with_jax
from harmony_jax.data.composites.parameters import DRAWS, Parameters, draw_batch
from harmony_jax.data.composites.photo_set import PhotoSet
from harmony_jax.data.composites.statistics import Statistics, stacked
from harmony_jax.data.resident.lanes import Lanes
from harmony_jax.data.resident.store import Decoder, Storage, Stored, store
from harmony_jax.data.resident.transforms import draw_crop, resample, sampling_positions
from harmony_jax.data.sources import Numbered
from harmony_jax.devices import mesh as meshes

# Streams of random numbers: JAX's of the augmentation, as dropout has the same seed, and NumPy's of
# composites, as lanes have 0 and 1.
_AUGMENTATION, _COMPOSITES = 1, 2
_AXIS = "lane"

_LOGGER = logging.getLogger(__name__)


class ResidentBatches:
    """Endless augmented batches on the devices, from samples decoded once.

    They are augmented as by `RandomCropAndFlip` and ordered by `Lanes`. Step, seed and samples
    determine a batch, on any number of devices and processes. Each process decodes, holds and
    computes the rows of its own devices, and nothing is communicated.

    Args:
        samples: to train on, at least one batch.
        augmentation, order: what decides the batches, besides.
        mesh: the devices of all processes, whose number divides the batch.
        storage: of the samples.
        first_only: decode only the samples of the first batch, which is then the only one.
    """

    def __init__(
        self,
        samples: Numbered,
        augmentation: Augmentation,
        order: BatchOrder,
        mesh: Mesh,
        storage: Storage,
        first_only: bool = False,
    ):
        self._samples, self._order, self._step = samples, order, order.start_step
        self._lanes = Lanes(len(samples), order.batch_size, order.seed)
        if first_only:
            storage = storage._replace(on_host=True)
        self._on_host, self._first_only = storage.on_host, first_only
        self._result = meshes.sharded(mesh)
        parts = self._result.addressable_devices_indices_map((order.batch_size,))
        # Only over this process's devices: programs that several processes share must start in one
        # order in all of them, and the augmentation starts beside the training step.
        own_mesh = Mesh(np.array(list(parts)), (_AXIS,))
        self._sharding = NamedSharding(own_mesh, PartitionSpec(_AXIS))
        self._programs = compile_augmentation(own_mesh, augmentation, order.seed)
        # The rows of the batch that this process's devices hold.
        self._rows = np.concatenate([np.arange(order.batch_size)[part] for part in parts.values()])
        self._row_numbers = jax.device_put(self._rows.astype(np.int32), self._sharding)
        own = [self._lanes.samples[row] for row in self._rows]
        if first_only:
            slots = self._lanes.slots_at(self._step)[self._rows]
            own = [lane[slot, None] for lane, slot in zip(own, slots, strict=True)]
        count = sum(map(len, own))
        with tqdm(total=count, desc="decoding", unit=" samples", disable=None) as bar:
            decoder = Decoder(samples, own, storage, bar.update)
            gigabytes = decoder.slots * decoder.bytes_at(storage.size) / 1e9
            _LOGGER.info("Decoding %d samples to %.1f GB", count, gigabytes)
            self._stored = store(decoder, self._sharding)
        self._numbers, self._unreported = decoder.numbers, decoder.unreadable
        if samples.recipe and not first_only:
            share_statistics(samples.objects, np.concatenate(self._numbers).tolist())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self

    def __next__(self) -> dict[str, Any]:
        """The next batch: uint8 pictures over the mesh; `index` and `unreadable` on the host.

        `index` has the numbers of this process's rows. `unreadable` lists the numbers of its
        samples that others stand in for, in the first batch: all were decoded before it.
        """
        slots = self._lanes.slots_at(self._step)[self._rows]
        if self._first_only:
            slots = np.zeros_like(slots)
        index = np.array([lane[slot] for lane, slot in zip(self._numbers, slots, strict=True)])
        stored = self._stored
        if self._on_host:
            stored = Stored(*(array[np.arange(len(slots)), slots, None] for array in stored))
            slots = np.zeros_like(slots)
        stored, slots, parameters = jax.device_put(
            (stored, slots, self._parameters(index.tolist())), self._sharding
        )
        choose, resize, divide = self._programs
        chosen = choose(stored, self._row_numbers, slots, np.int32(self._step))
        pictures = {
            key: jax.make_array_from_single_device_arrays(
                (self._order.batch_size, *array.shape[1:]),
                self._result,
                [shard.data for shard in array.addressable_shards],
            )
            for key, array in divide(resize(*chosen), parameters).items()
        }
        self._step += 1
        unreadable, self._unreported = self._unreported, []
        return {**pictures, "index": index, "unreadable": unreadable}

    def _parameters(self, numbers: Sequence[int]) -> Parameters | None:
        """What is done to the photos of these numbers; None if they have their composites."""
        recipe, order = self._samples.recipe, self._order
        if recipe is None:
            return None
        rng = np.random.default_rng([order.seed, _COMPOSITES, self._step])
        uniform = rng.random((order.batch_size, DRAWS))[self._rows]
        return draw_batch(recipe, uniform, numbers, self._samples.objects)

    def close(self) -> None:
        """Frees the samples; there is no batch after it."""
        del self._stored


def share_statistics(photos: PhotoSet, own: Sequence[int]) -> None:
    """Gives every process the colours of the photos (by number) that each has decoded."""
    if jax.process_count() == 1:
        return
    known = np.zeros(len(photos), bool)
    known[own] = True
    found = stacked([photos.statistics(index) for index in own])
    table = Statistics(*(np.zeros((len(photos), *x.shape[1:]), np.float32) for x in found))
    for column, values in zip(table, found, strict=True):
        column[own] = values
    known, table = multihost_utils.process_allgather((known, table))  # [processes, photos, ...]
    for place in zip(*np.nonzero(known), strict=True):
        photos.set_statistics(int(place[1]), Statistics(*(column[place] for column in table)))


@cache  # compiling takes seconds
def compile_augmentation(
    mesh: Mesh, augmentation: Augmentation, seed: int
) -> tuple[jax.stages.Wrapped, jax.stages.Wrapped, jax.stages.Wrapped]:
    """The augmentation of rows divided over a mesh of one axis, in three programs.

    With row and step, the seed decides crops and flips. XLA:CPU would fuse one program, and compute
    each pixel's position anew from the crop and its neighbours anew for each output: 5 ms a sample
    for resizing instead of 0.7.

    Returns:
        From stored samples, row numbers, slots and step to pixels, rows and columns; from these to
        resized pixels [batch, channels, size, size]; from these and the composites' parameters, if
        any, to composite, real photo and mask.
    """
    image_size, crop, flip = augmentation
    # Named, as the default may be another generator, which would draw other crops.
    stream = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), _AUGMENTATION)

    def choose(
        stored: Stored, rows: Int[Array, " rows"], slots: Int[Array, " rows"], step: Int[Array, ""]
    ) -> tuple[Array, Array, Array]:
        pixels, sizes = (jax.vmap(lambda lane, slot: lane[slot])(a, slots) for a in stored)
        keys = jax.vmap(partial(jax.random.fold_in, jax.random.fold_in(stream, step)))(rows)
        draw = jax.vmap(partial(draw_crop, image_size=image_size, crop=crop, flip=flip))
        crops, flips = draw(pixels[:, -1], sizes, keys)
        return pixels, *sampling_positions(sizes, crops, flips, pixels.shape[-1], image_size)

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

    return (
        compiled(choose, lanes, lanes, lanes, whole),
        compiled(resample, lanes, lanes, lanes),
        compiled(divide, lanes, lanes),
    )
