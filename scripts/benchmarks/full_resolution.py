"""`benchmark.py full_resolution`: time and memory of a large photo."""

import argparse

import cv2
import jax
import numpy as np
from flax import nnx

from benchmarks.timing import in_new_process, in_turns, peak_memory, shown
from harmony_jax.models import create_model
from harmony_jax.photos.harmonizer import Harmonizer

_IMAGE_SIZE = 256
_HEIGHT, _WIDTH = 4243, 2828  # of the photo that is timed, 12 megapixels
_ROUNDS = 7


def measure(arguments: argparse.Namespace) -> None:
    """Prints each model's time and memory."""
    if arguments.here:
        _measure_time(arguments.names[0])
        return
    for name in arguments.names:
        in_new_process(f"--names={name}")


def _measure_time(name: str) -> None:
    """Prints ms and memory of a 12-megapixel photo, from array to array."""
    model = create_model(name, rngs=nnx.Rngs(0))
    model.eval()
    harmonizer = Harmonizer(model, _IMAGE_SIZE)
    before = peak_memory()
    low = np.random.default_rng(0).integers(0, 256, (48, 32, 3)).astype(np.uint8)
    photo = cv2.resize(low, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_CUBIC)
    mask = np.zeros((_HEIGHT, _WIDTH), np.uint8)
    mask[_HEIGHT // 8 : -_HEIGHT // 8, _WIDTH // 8 : -_WIDTH // 8] = 255
    times = in_turns({"full": lambda: harmonizer.harmonize(photo, mask)}, _ROUNDS)["full"]
    print(
        f"{name}: {_WIDTH} x {_HEIGHT} on {jax.devices()[0].device_kind}: {shown(times, 1e3)} ms; "
        f"peak memory {peak_memory() / 2**30:.2f} GiB, {before / 2**30:.2f} before the photo"
    )
