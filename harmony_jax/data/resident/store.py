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

from harmony_jax.data.batching import CHANNELS, PIXELS, Reading
from harmony_jax.data.resident.memory import check_room, device_room, host_room
from harmony_jax.data.sources import Numbered, Source
from harmony_jax.devices.host_cores import usable_cores

_CHUNK_BYTES = 256e6  # decoded on the host before they go to the devices
_THREADS = 2


class Stored(NamedTuple):
    """Samples by lane and slot, as NumPy or JAX arrays; a lane is a row of the batch.

    Channels come before height and width: a TPU would pad a last axis of 7 to 128.
    """

    pixels: Any  # uint8 [lanes, slots, channels, stored, stored], see `stored_pixels`
    sizes: Any  # int32 [lanes, slots, 2]: height and width of the originals
    index: Any  # int32 [lanes, slots]: number in the source


class Decoder:
    """Decodes the samples of lanes, each once, in threads.

    JPEG, PNG and resizing hold no interpreter lock, so processes would gain nothing.

    Args:
        source: the samples.
        lanes: the numbers of each lane's samples.
        reading: `stored_size`, `check`, and `num_workers` for so many threads; 0 for two.
        pictures: which ones samples have.
        progress: called with 1 after each sample.

    Attributes:
        unreadable: numbers of samples that the source says others stand in for.
        numbers: of the samples in the lanes' slots, stand-ins among them, once they are decoded.
    """

    def __init__(
        self,
        source: Source | Numbered,
        lanes: Sequence[np.ndarray],
        reading: Reading,
        pictures: Sequence[str] = PIXELS,
        progress: Callable[[int], Any] = lambda count: None,
    ):
        self.unreadable: list[int] = []
        self.numbers = [np.array(lane) for lane in lanes]
        self.reading = reading
        self._pictures = pictures
        self._channels = sum(CHANNELS[key] for key in pictures)
        self._source, self._lanes, self._stored_size = source, lanes, reading.stored_size
        num_workers = reading.num_workers
        if num_workers < 0:
            num_workers = usable_cores()
        self._threads = num_workers or _THREADS
        self._progress = progress

    @property
    def bytes_per_slot(self) -> int:
        return self.bytes_at(self._stored_size)

    def bytes_at(self, stored_size: int) -> int:
        """Of one slot of all lanes, were it stored at another size."""
        return len(self._lanes) * self._channels * stored_size**2

    def empty(self, slots: int) -> Stored:
        lanes, side = len(self._lanes), self._stored_size
        return Stored(
            pixels=np.zeros((lanes, slots, self._channels, side, side), np.uint8),
            sizes=np.ones((lanes, slots, 2), np.int32),
            index=np.full((lanes, slots), -1, np.int32),
        )

    def fill(self, stored: Stored, start: int = 0) -> None:
        """Decodes the slots from `start` on into arrays on the host, as many as these have.

        Raises:
            InputError: a sample cannot be read.
            Exception: what `check` raised.
        """
        places = [
            (lane, slot)
            for slot in range(stored.index.shape[1])
            for lane in range(len(self._lanes))
            if start + slot < len(self._lanes[lane])
        ]

        def read(place: tuple[int, int]) -> int:
            lane, slot = place
            number = int(self._lanes[lane][start + slot])
            sample: Any = self._source[number]
            pictures = [sample[key] for key in self._pictures]
            stored.pixels[place] = stored_pixels(pictures, self._stored_size)
            stored.sizes[place] = sample["mask"].shape
            stored.index[place] = sample.get("index", number)
            self.numbers[lane][start + slot] = stored.index[place]
            return sample.get("unreadable", -1)

        with ThreadPoolExecutor(self._threads) as threads:
            try:
                for replaced in threads.map(read, places):
                    if replaced >= 0:
                        self.unreadable.append(replaced)
                    self._progress(1)
                    self.reading.check()
            except BaseException:
                threads.shutdown(cancel_futures=True)  # those begun are finished
                raise


def stored_pixels(
    pictures: Sequence[np.ndarray], stored_size: int
) -> UInt8[np.ndarray, "channels stored stored"]:
    """Pictures of one height and width, with channels or without, in a square's upper left corner.

    A side longer than the square's is shrunk to it, each by itself; a shorter one is kept as it
    is, so that what is cut out of it later has been resampled once only. Bicubic comes closest to
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


def store_on_host(decoder: Decoder, slots: int) -> Stored:
    """Decodes all slots into the host's memory.

    Raises:
        InputError: too little memory, or a sample cannot be read.
    """
    check_room(lambda side: slots * decoder.bytes_at(side), decoder.reading, host_room())
    stored = decoder.empty(slots)
    decoder.fill(stored)
    return stored


def store_on_devices(decoder: Decoder, slots: int, sharding: NamedSharding) -> Stored:
    """Decodes all slots into the devices' memory; the host holds two small parts of them at most.

    Args:
        decoder: of the lanes of these devices.
        slots: of each lane.
        sharding: divides the lanes evenly.

    Raises:
        InputError: too little memory, or a sample cannot be read.
    """
    chunk = _chunk(decoder, slots, decoder.reading.stored_size)
    check_device_memory(decoder, slots, sharding.addressable_devices)
    shapes = jax.tree.map(
        lambda part: jax.ShapeDtypeStruct((part.shape[0], slots, *part.shape[2:]), part.dtype),
        decoder.empty(1),
    )
    make = partial(jax.tree.map, lambda shape: jnp.zeros(shape.shape, shape.dtype))
    stored = jax.jit(make, static_argnums=0, out_shardings=sharding)(shapes)
    for start in range(0, slots, chunk):
        part = decoder.empty(min(chunk, slots - start))
        decoder.fill(part, start)
        # Waited for: the parts would pile up where decoding is faster than the way to the devices.
        stored = jax.block_until_ready(_write(stored, jax.device_put(part, sharding), start))
    return stored


@partial(jax.jit, donate_argnums=0)
def _write(stored: Stored, part: Stored, start: jax.Array) -> Stored:
    return jax.tree.map(
        lambda whole, piece: lax.dynamic_update_slice_in_dim(whole, piece, start, axis=1),
        stored,
        part,
    )


def _chunk(decoder: Decoder, slots: int, stored_size: int) -> int:
    """How many slots go to the devices at a time."""
    return min(slots, max(1, int(_CHUNK_BYTES / decoder.bytes_at(stored_size))))


def check_device_memory(decoder: Decoder, slots: int, devices: Collection[Any]) -> None:
    """Raises InputError if the samples, and what is reserved, are more than a device has free.

    Args:
        decoder: of the samples, evenly divided over the devices; its `reading` says what is
            reserved.
        slots: of each lane.
        devices: of this process.
    """

    def needed(stored_size: int) -> int:
        return (slots + _chunk(decoder, slots, stored_size)) * decoder.bytes_at(stored_size)

    for device in devices:
        room = device_room(device, len(devices), decoder.reading.reserved)
        check_room(needed, decoder.reading, room)
