"""What decides the batches of a training, besides its samples."""

from typing import NamedTuple

CHANNELS = {"composite": 3, "real": 3, "mask": 1}
PIXELS = tuple(CHANNELS)


class Augmentation(NamedTuple):
    """How samples are varied.

    Attributes:
        image_size: side of the result in pixels.
        crop: random crops (`RandomCropAndFlip`); False resizes the whole picture.
        flip: left to right, half of the time.
    """

    image_size: int
    crop: bool = True
    flip: bool = True


class BatchOrder(NamedTuple):
    """Which samples are in which batch.

    Attributes:
        batch_size: samples a step over all devices and processes.
        seed: of the order, the augmentation and the composites.
        start_step: steps already done.
    """

    batch_size: int
    seed: int
    start_step: int = 0
