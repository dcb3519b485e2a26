"""`benchmark.py composites`: what making composites of photos costs, on a core and on a device."""

import statistics
import time

import cv2
import jax
import numpy as np

from benchmarks.timing import in_turns, shown
from configs import base
from harmony_jax.data.composites.compose import compose_with_jax, compose_with_numpy
from harmony_jax.data.composites.parameters import DRAWS, Parameters, draw_batch
from harmony_jax.data.composites.photo_set import PhotoSet
from harmony_jax.data.composites.recipe import KINDS, Recipe
from harmony_jax.data.composites.source import PhotosSource
from harmony_jax.data.resizing import resize

_IMAGE_SIZE = 256


def measure(root: str, batch: int, rounds: int) -> None:
    """Prints ms for drawing a batch's parameters, and ms an image for making composites.

    Args:
        root: a folder of photos.
        batch: images a step.
        rounds: over the batch.
    """
    cv2.setNumThreads(1)
    recipe = Recipe.of(base.get_config().data.composites)
    photos = PhotosSource(PhotoSet(root), recipe).raw()
    chosen = np.random.default_rng(0).permutation(len(photos))[:batch].tolist()
    samples = [photos[index] for index in chosen]
    pixels = np.stack(
        [
            np.concatenate([_planes(sample["real"]), resize(sample["mask"], _IMAGE_SIZE)[None]])
            for sample in samples
        ]
    )
    numbers = (chosen * batch)[:batch]
    uniform = np.random.default_rng(1).random((len(numbers), DRAWS))
    drawn = draw_batch(recipe, uniform, numbers, photos)  # reads the objects that lend colours
    on_device = jax.device_put((pixels, drawn))
    program = jax.jit(compose_with_jax)
    by_kind: dict[int, list[float]] = {kind: [] for kind in range(len(KINDS))}

    def with_numpy() -> None:
        for row, kind in enumerate(drawn.kind.tolist()):
            real = np.ascontiguousarray(np.moveaxis(pixels[row, :3], 0, -1))
            start = time.process_time()
            compose_with_numpy(real, pixels[row, 3], Parameters(*(v[row] for v in drawn)))
            by_kind[kind].append(time.process_time() - start)

    contenders = {
        "draw": lambda: draw_batch(recipe, uniform, numbers, photos),
        "a core": with_numpy,
        "the device": lambda: jax.block_until_ready(program(*on_device)),
    }
    times = in_turns(contenders, rounds)
    print(f"{len(numbers)} images of {_IMAGE_SIZE} pixels, {rounds} rounds; the best in brackets")
    print(f"parameters, ms a batch         {shown(times['draw'], 1e3)}")
    for place in ("a core", "the device"):
        print(f"composites on {place:<10}, ms   {shown(times[place], 1e3 / len(numbers))}")
    for kind, seconds in by_kind.items():
        if seconds:
            print(f"  {KINDS[kind]:<10} on a core, ms   {statistics.median(seconds) * 1e3:.2f}")


def _planes(photo: np.ndarray) -> np.ndarray:
    return np.moveaxis(resize(photo, _IMAGE_SIZE), -1, 0)
