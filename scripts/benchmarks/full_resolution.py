"""`benchmark.py full_resolution`: quality and cost of the way to full resolution."""

import argparse
from collections import defaultdict
from pathlib import Path

import cv2
import jax
import numpy as np
from flax import nnx

from benchmarks.timing import in_new_process, in_turns, peak_memory, shown
from harmony_jax.data.iharmony4 import SUBSETS, IHarmony4Source
from harmony_jax.data.resizing import shrink
from harmony_jax.devices.compiled_once import CompiledOnce
from harmony_jax.models import create_model
from harmony_jax.photos.color_transform import fit_color_transform
from harmony_jax.photos.harmonizer import Harmonizer
from harmony_jax.photos.recolor import Recolor

_IMAGE_SIZE = 256
_HEIGHT, _WIDTH = 4243, 2828  # of the photo that is timed, 12 megapixels
_LARGE = 4e6  # pixels; larger photos have a row of their own
_WAYS = ("composite", "enlarged", "ours")
_ROUNDS = 7


def measure(arguments: argparse.Namespace) -> None:
    """Prints the quality on a data set, if one is given, and each model's time and memory."""
    if arguments.here:
        _measure_time(arguments.names[0])
        return
    if arguments.root:
        _measure_quality(arguments.root)
    for name in arguments.names:
        in_new_process(f"--names={name}")


def _measure_quality(root: str) -> None:
    """Prints PSNR inside the mask and fMSE at full size, with the real photo as prediction.

    The real photo at 256 pixels stands in for the network's output, so the figures are those of the
    way to full resolution alone. `enlarged` is the prediction, enlarged and pasted by the mask.
    """
    source = IHarmony4Source(root, "test", [s for s in SUBSETS if (Path(root) / s).is_dir()])
    fit, recolor = CompiledOnce(fit_color_transform), Recolor()
    found: dict[str, list[list[float]]] = defaultdict(list)  # fMSE of each way, by group
    for index in range(len(source)):
        sample = source[index]
        composite, real, mask = (sample[key] for key in ("composite", "real", "mask"))
        small, prediction, small_mask = (shrink(p, _IMAGE_SIZE) for p in (composite, real, mask))
        coefficients = fit(small, prediction, np.square(small_mask.astype(np.float32) / 255))
        weight = mask[..., None].astype(np.float32) / 255
        enlarged = cv2.resize(prediction, composite.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        results = (
            composite,
            composite + weight * (enlarged.astype(np.float32) - composite),
            recolor(np.asarray(coefficients), composite, mask),
        )
        large = ["large"] if mask.size > _LARGE else []
        for group in (source.subset(index), "all", *large):
            found[group].append([_fmse(result, real, weight) for result in results])
    columns = "  ".join(f"{way:>10}" for way in _WAYS)
    print(f"{'':12}  {'':>3}  PSNR inside the mask, dB{'':23}  fMSE")
    print(f"{'':12}  {'N':>3}  {columns}  {'gain':>9}  {columns}")
    for group in (*SUBSETS, "all", "large"):
        if group not in found:
            continue
        fmse = np.array(found[group])
        psnr = (10 * np.log10(255**2 / fmse)).mean(0)
        cells = ("  ".join(f"{value:10.2f}" for value in row) for row in (psnr, fmse.mean(0)))
        print(f"{group:12}  {len(fmse):3}  {next(cells)}  {psnr[2] - psnr[1]:+9.2f}  {next(cells)}")


def _fmse(result: np.ndarray, real: np.ndarray, weight: np.ndarray) -> float:
    error = np.square(np.clip(result, 0, 255).astype(np.float32) - real)
    return float((weight * error).sum() / (3 * weight.sum()))


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
