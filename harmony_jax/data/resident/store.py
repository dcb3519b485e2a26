"""Decoded samples in the memory of the host or the devices, at a fixed size."""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding
from jaxtyping import UInt8

from harmony_jax.data.batching import CHANNELS
from harmony_jax.data.resident.memory import check_room, device_room, host_room
from harmony_jax.data.sources import Numbered
from harmony_jax.devices.host_cores import usable_cores

_CHUNK_BYTES = 256e6  # decoded on the host before they go to the devices
_THREADS = 2


class Storage(NamedTuple):
    """Where decoded samples stay, and how they come there."""

    size: int  # longest side kept, in pixels
    on_host: bool = False  # in the host's memory, and sent to the devices at every step
    num_workers: int = 0  # threads that decode; 0 for two, -1 for one a core
    reserved: int = 0  # bytes of each device's memory that samples must leave free
    # Called after each sample is decoded; what it raises ends that.
    check: Callable[[], Any] = lambda: None


class Stored(NamedTuple):
    """Samples by lane and slot, as NumPy or JAX arrays; a lane is a row of the batch.

    Channels come before height and width: a TPU would pad a last axis of 7 to 128.
    """

    pixels: Any  # uint8 [lanes, slots, channels, stored, stored], see `stored_pixels`
    sizes: Any  # int32 [lanes, slots, 2]: height and width of the originals


class Decoder:
    """Decodes the samples of lanes, each once, in threads.

    JPEG, PNG and resizing hold no interpreter lock, so processes would gain nothing.

    `progress` is called after each sample.

    Attributes:
        slots: length of the longest lane.
        numbers: of the samples in the lanes' slots, with those that stand in for unreadable ones.
        unreadable: numbers of the samples that others stand in for.
    """

    def __init__(
        self,
        samples: Numbered,
        lanes: Sequence[np.ndarray],
        storage: Storage,
        progress: Callable[[], Any] = lambda: None,
    ):
        self.slots = max(map(len, lanes))
        self.numbers = [np.array(lane) for lane in lanes]
        self.unreadable: list[int] = []
        self.storage = storage
        self._samples, self._lanes, self._progress = samples, lanes, progress
        self._channels = sum(CHANNELS[key] for key in samples.pictures)
        workers = storage.num_workers
        self._threads = usable_cores() if workers < 0 else workers or _THREADS

    def bytes_at(self, stored_size: int) -> int:
        """Of one slot of all lanes, were it stored at this size."""
        return len(self._lanes) * self._channels * stored_size**2

    def shapes(self, slots: int) -> Stored:
        """Of the arrays that hold so many slots."""
        lanes, side = len(self._lanes), self.storage.size
        pixels = jax.ShapeDtypeStruct((lanes, slots, self._channels, side, side), np.uint8)
        return Stored(pixels, jax.ShapeDtypeStruct((lanes, slots, 2), np.int32))

    def decode(self, start: int, slots: int) -> Stored:
        """Decodes so many slots from `start` on, into arrays on the host."""
        stored = jax.tree.map(lambda shape: np.zeros(shape.shape, shape.dtype), self.shapes(slots))
        places = [
            (lane, slot)
            for slot in range(slots)
            for lane in range(len(self._lanes))
            if start + slot < len(self._lanes[lane])
        ]

        def read(place: tuple[int, int]) -> int:
            lane, slot = place
            sample = self._samples[int(self._lanes[lane][start + slot])]
            pictures = [sample[key] for key in self._samples.pictures]
            stored.pixels[place] = stored_pixels(pictures, self.storage.size)
            stored.sizes[place] = sample["mask"].shape
            self.numbers[lane][start + slot] = sample["index"]
            return sample["unreadable"]

        with ThreadPoolExecutor(self._threads) as threads:
            try:
                for replaced in threads.map(read, places):
                    if replaced >= 0:
                        self.unreadable.append(replaced)
                    self._progress()
                    self.storage.check()
            except BaseException:
                threads.shutdown(cancel_futures=True)  # those begun are finished
                raise
        return stored


def stored_pixels(
    pictures: Sequence[np.ndarray], stored_size: int
) -> UInt8[np.ndarray, "channels stored stored"]:
    """Pictures of one height and width, with channels or without, in a square's upper left corner.

    A side longer than the square's is shrunk to it, each by itself. A shorter one is kept as it
    is, so that what is cut out of it later has been resampled only once. Bicubic comes closest to
    resizing a crop of the original: of photos larger than 384 both ways, a crop at 256 is off by
    3.5 grey levels in the mean (bilinear 3.8, by area 3.9) with 89 % of the gradients (80, 75).
    """
    height, width = (min(side, stored_size) for side in pictures[0].shape[:2])
    layers = []
    for pixels in pictures:
        if pixels.shape[:2] != (height, width):
            pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC)
        layers.append(np.moveaxis(pixels.reshape(height, width, -1), -1, 0))
    square = np.zeros((sum(map(len, layers)), stored_size, stored_size), np.uint8)
    square[:, :height, :width] = np.concatenate(layers)
    return square


def store(decoder: Decoder, sharding: NamedSharding) -> Stored:
    """Decodes all samples into the memory where they stay.

    The sharding divides the decoder's lanes evenly over devices. Of samples that stay there, the
    host holds two small parts at most.
    """
    check_memory(decoder, sharding.addressable_devices)
    if decoder.storage.on_host:
        return decoder.decode(0, decoder.slots)
    chunk = _chunk(decoder, decoder.storage.size)
    make = partial(jax.tree.map, lambda shape: jnp.zeros(shape.shape, shape.dtype))
    shapes = decoder.shapes(decoder.slots)
    stored = jax.jit(make, static_argnums=0, out_shardings=sharding)(shapes)
    for start in range(0, decoder.slots, chunk):
        part = decoder.decode(start, min(chunk, decoder.slots - start))
        # Waited for: the parts would pile up where decoding is faster than the way to the devices.
        stored = jax.block_until_ready(_write(stored, jax.device_put(part, sharding), start))
    return stored


@partial(jax.jit, donate_argnums=0)
def _write(stored: Stored, part: Stored, start: jax.Array) -> Stored:
    write = partial(lax.dynamic_update_slice_in_dim, start_index=start, axis=1)
    return jax.tree.map(write, stored, part)


def _chunk(decoder: Decoder, stored_size: int) -> int:
    """How many slots go to the devices at a time."""
    return min(decoder.slots, max(1, int(_CHUNK_BYTES / decoder.bytes_at(stored_size))))


def check_memory(decoder: Decoder, devices: Collection[Any]) -> None:
    """Raises InputError if the samples, and what is reserved, are more than fits into memory."""
    size = decoder.storage.size
    if decoder.storage.on_host:
        check_room(lambda side: decoder.slots * decoder.bytes_at(side), size, "host", host_room())
        return
    for device in devices:
        share = 1 if device.platform == "cpu" else len(devices)  # CPU devices share the host's

        def needed(side: int, share: int = share) -> int:
            slots = decoder.slots + _chunk(decoder, side)
            return slots * decoder.bytes_at(side) // share

        room = device_room(device, len(devices), decoder.storage.reserved)
        check_room(needed, size, "device", room)
