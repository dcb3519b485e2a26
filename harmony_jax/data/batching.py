"""What decides the batches of a training, besides its samples."""

from typing import NamedTuple

CHANNELS = {"composite": 3, "real": 3, "mask": 1}
PIXELS = tuple(CHANNELS)


class Augmentation(NamedTuple):
    """How samples are varied."""

    image_size: int  # side of the result in pixels
    crop: bool = True  # random crops (`RandomCropAndFlip`); False resizes the whole picture
    flip: bool = True  # left to right, half of the time


class BatchOrder(NamedTuple):
    """Which samples are in which batch."""

    batch_size: int  # samples a step over all devices and processes
    seed: int  # of the order, the augmentation and the composites
    start_step: int = 0  # steps already done
