"""What says which batches a training gets and how they are made; it travels together."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax

from harmony_jax.data.composites.recipe import Recipe

PIXELS = ("composite", "real", "mask")
CHANNELS = {"composite": 3, "real": 3, "mask": 1}


class Augmentation(NamedTuple):
    """How samples are varied, and to which size they come.

    Attributes:
        image_size: side of the result in pixels.
        crop: random crops (`RandomCropAndFlip`); False resizes the whole picture.
        flip: left to right, half of the time.
        recipe: of the composites, which are made after that; None: samples come with theirs.
    """

    image_size: int
    crop: bool = True
    flip: bool = True
    recipe: Recipe | None = None

    @property
    def pictures(self) -> tuple[str, ...]:
        """What samples have before composites are made."""
        return PIXELS if self.recipe is None else PIXELS[1:]


class BatchOrder(NamedTuple):
    """Which samples are in which batch; with the source and the augmentation, all of a batch.

    Attributes:
        batch_size: samples a step over all devices and processes.
        seed: of order and augmentation.
        start_step: steps already done.
    """

    batch_size: int
    seed: int
    start_step: int = 0


class Share(NamedTuple):
    """Which part of every batch a process reads."""

    process_index: int = 0
    process_count: int = 1


class Reading(NamedTuple):
    """How samples are read, and where they stay.

    Attributes:
        num_workers: that decode; -1 for one a core.
        placement: `stream`: decoded anew for every batch, by processes; else decoded once, by
            threads, and kept in the memory of each `device` or of the `host`.
        stored_size: longest side kept, in pixels.
        reserved: bytes of each device's memory that are wanted for something else than samples.
        check: called while all samples are decoded, many times a second; what it raises ends that.
    """

    num_workers: int
    placement: Literal["stream", "device", "host"] = "stream"
    stored_size: int = 0
    reserved: int = 0
    check: Callable[[], Any] = lambda: None


class DeviceBatch(NamedTuple):
    """One batch on the devices.

    Attributes:
        arrays: uint8 `composite`, `real` [batch, size, size, 3] and `mask` [batch, size, size];
            others may come with them.
        unreadable: numbers of this process's samples that others in it stand in for.
    """

    arrays: dict[str, jax.Array]
    unreadable: set[int]
