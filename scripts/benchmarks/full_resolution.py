"""`benchmark.py full_resolution`: what the way to full resolution keeps, and what it takes."""

from collections import defaultdict
from pathlib import Path

import cv2
import jax
import numpy as np
from flax import nnx

from benchmarks.timing import in_new_process, in_turns, peak_memory, shown
from harmony_jax.data.iharmony4 import SUBSETS, IHarmony4Source
from harmony_jax.data.resizing import resize, shrink
from harmony_jax.devices.compiled_once import CompiledOnce
from harmony_jax.models import create_model
from harmony_jax.photos.color_transform import fit_color_transform
from harmony_jax.photos.harmonizer import Harmonizer
from harmony_jax.photos.recolor import Recolor

_IMAGE_SIZE = 256
_MEGAPIXELS = 12.0
_LARGE_MEGAPIXELS = 4.0  # photos above have a line of their own
_WAYS = ("composite", "enlarged", "ours")


def measure_quality(root: str) -> None:
    """Prints PSNR inside the mask and fMSE, at full size, with the real photo as prediction.

    The network's part is taken by the real photo at 256 pixels, so the figures are those of the
    way to full resolution alone. `enlarged` is the prediction, enlarged and pasted by the mask.
    """
    source = IHarmony4Source(root, "test", [s for s in SUBSETS if (Path(root) / s).is_dir()])
    fit, recolor = CompiledOnce(fit_color_transform), Recolor()
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for index in range(len(source)):
        sample = source[index]
        composite, real, mask = (sample[key] for key in ("composite", "real", "mask"))
        small, prediction, small_mask = (shrink(p, _IMAGE_SIZE) for p in (composite, real, mask))
        coefficients = fit(small, prediction, np.square(small_mask.astype(np.float32) / 255))
        weight = mask[..., None].astype(np.float32) / 255
        enlarged = resize(prediction, *composite.shape[:2])
        results = {
            "composite": composite,
            "enlarged": composite + weight * (enlarged.astype(np.float32) - composite),
            "ours": recolor(np.asarray(coefficients), composite, mask),
        }
        errors = {way: _fmse(result, real, weight) for way, result in results.items()}
        for group in (source.subset(index), "all", *_large(composite)):
            found[group].append(errors)
    print(f"{'':12}  {'N':>3}  {'PSNR inside the mask, dB':>34}  {'':>9}  {'fMSE':>32}")
    columns = "  ".join(f"{way:>10}" for way in _WAYS)
    print(f"{'':12}  {'':>3}  {columns}  {'gain':>9}  {columns}")
    for group in (*SUBSETS, "all", *sorted(set(found) - {*SUBSETS, "all"})):
        if not (rows := found.get(group)):
            continue
        means = {way: float(np.mean([row[way] for row in rows])) for way in _WAYS}
        psnr = {way: float(np.mean([_psnr(row[way]) for row in rows])) for way in _WAYS}
        gain = psnr["ours"] - psnr["enlarged"]
        print(
            f"{group:12}  {len(rows):3}  "
            + "  ".join(f"{psnr[way]:10.2f}" for way in _WAYS)
            + f"  {gain:+9.2f}  "
            + "  ".join(f"{means[way]:10.2f}" for way in _WAYS)
        )


def measure_apart(name: str) -> None:
    """As `measure`, in a process of its own."""
    in_new_process("full_resolution", f"--names={name}")


def measure(name: str, rounds: int = 7) -> None:
    """Prints ms and memory of a 12-megapixel photo, from array to array."""
    model = create_model(name, rngs=nnx.Rngs(0))
    model.eval()
    harmonizer = Harmonizer(model, _IMAGE_SIZE)
    height = round((_MEGAPIXELS * 1e6 * 3 / 2) ** 0.5)
    width = round(_MEGAPIXELS * 1e6 / height)
    before = peak_memory()
    low = np.random.default_rng(0).integers(0, 256, (48, 32, 3)).astype(np.uint8)
    photo = cv2.resize(low, (width, height), interpolation=cv2.INTER_CUBIC)
    mask = np.zeros((height, width), np.uint8)
    mask[height // 8 : -height // 8, width // 8 : -width // 8] = 255
    times = in_turns({"full": lambda: harmonizer.harmonize(photo, mask)}, rounds)["full"]
    print(
        f"{name}: {width} x {height} on {jax.devices()[0].device_kind}: {shown(times, 1e3)} ms; "
        f"peak memory {peak_memory() / 2**30:.2f} GiB, {before / 2**30:.2f} before the photo"
    )


def _fmse(result: np.ndarray, real: np.ndarray, weight: np.ndarray) -> float:
    error = np.square(np.clip(result, 0, 255).astype(np.float32) - real)
    return float((weight * error).sum() / (3 * weight.sum()))


def _psnr(fmse: float) -> float:
    return float(10 * np.log10(255**2 / fmse))


def _large(composite: np.ndarray) -> list[str]:
    megapixels = composite.shape[0] * composite.shape[1] / 1e6
    return [f"{megapixels:.0f} MP"] if megapixels > _LARGE_MEGAPIXELS else []
