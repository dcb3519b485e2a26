"""`benchmark.py composites`: what making composites of photos costs, on a core and on a device."""

import argparse

import cv2
import jax
import numpy as np

from benchmarks.timing import in_turns, shown
from configs import base
from harmony_jax.data.composites.compose import compose_with_jax, compose_with_numpy
from harmony_jax.data.composites.parameters import DRAWS, Parameters, draw_batch
from harmony_jax.data.composites.photo_set import PhotoSet
from harmony_jax.data.composites.recipe import Recipe
from harmony_jax.data.composites.source import PhotosSource
from harmony_jax.data.resizing import resize
from harmony_jax.data.sources import RawSample

_IMAGE_SIZE = 256


def measure(arguments: argparse.Namespace) -> None:
    """Prints ms for drawing a batch's parameters, and ms an image for making composites."""
    batch, rounds = arguments.batch, arguments.rounds
    cv2.setNumThreads(1)
    recipe = Recipe.of(base.get_config().data.composites)
    photos = PhotosSource(PhotoSet(arguments.photos), recipe).raw()
    numbers = np.resize(np.random.default_rng(0).permutation(len(photos)), batch).tolist()
    pixels = np.stack([_planes(photos[number]) for number in numbers])
    uniform = np.random.default_rng(1).random((batch, DRAWS))
    drawn = draw_batch(recipe, uniform, numbers, photos)  # reads the objects that lend colours
    on_device = jax.device_put((pixels, drawn))
    program = jax.jit(compose_with_jax)

    def with_numpy() -> None:
        for row in range(batch):
            real = np.ascontiguousarray(np.moveaxis(pixels[row, :3], 0, -1))
            compose_with_numpy(real, pixels[row, 3], Parameters(*(v[row] for v in drawn)))

    contenders = {
        "draw": lambda: draw_batch(recipe, uniform, numbers, photos),
        "a core": with_numpy,
        "the device": lambda: jax.block_until_ready(program(*on_device)),
    }
    times = in_turns(contenders, rounds)
    print(f"{batch} images of {_IMAGE_SIZE} pixels, {rounds} rounds; the best in brackets")
    print(f"parameters, ms a batch         {shown(times['draw'], 1e3)}")
    for place in ("a core", "the device"):
        print(f"composites on {place:<10}, ms   {shown(times[place], 1e3 / batch)}")


def _planes(sample: RawSample) -> np.ndarray:
    real, mask = (resize(sample[key], _IMAGE_SIZE) for key in ("real", "mask"))
    return np.concatenate([np.moveaxis(real, -1, 0), mask[None]])
