"""`benchmark.py input`: samples/s of every form that training data comes in."""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import cv2
import jax
import numpy as np

from benchmarks.timing import Run, in_turns
from harmony_jax.data.batching import Augmentation, BatchOrder
from harmony_jax.data.iharmony4 import SUBSETS, IHarmony4Source, SampleFiles
from harmony_jax.data.pipeline import training_batches
from harmony_jax.data.prepared import PreparedSource
from harmony_jax.data.preparing.prepare import prepare
from harmony_jax.data.resident.batches import ResidentBatches
from harmony_jax.data.resident.store import Storage
from harmony_jax.data.resizing import resize
from harmony_jax.data.sources import Numbered, Source
from harmony_jax.data.transforms import RandomCropAndFlip, random_crop
from harmony_jax.devices.mesh import create_mesh

_IMAGE_SIZE, _STORED_SIZE = 256, 384
_BATCH, _UNTIMED, _TIMED = 16, 8, 64
_AUGMENTATION, _ORDER = Augmentation(_IMAGE_SIZE), BatchOrder(_BATCH, seed=0)


def measure(arguments: argparse.Namespace) -> None:
    """Prints samples/s, decoded, cropped and resized; the samples are spread over the list."""
    root, prepared, rounds = arguments.root, arguments.prepared, arguments.rounds
    cv2.setNumThreads(1)
    subsets = tuple(subset for subset in SUBSETS if (Path(root) / subset).is_dir())
    with nullcontext(prepared) if prepared else _prepared_for_now(root, subsets) as folder:
        files = IHarmony4Source(root, "train", subsets)
        spread = (
            np.linspace(0, len(files) - 1, min(arguments.samples, len(files))).astype(int).tolist()
        )
        forms = {
            "folder": files.select(spread),
            "prepared": PreparedSource(str(folder), "train", subsets).select(spread),
        }
        steps = max(1, len(spread) // _BATCH)
        runs = {name: _decode(source) for name, source in forms.items()}
        runs["plain OpenCV"] = _plain([files.files[index] for index in spread])
        runs["resident"] = _resident(forms["prepared"], steps)
        # This process's own time: others' work on this machine does not count, all threads do.
        times = in_turns(runs, rounds, time.process_time)
        print(f"{len(spread)} samples, {rounds} rounds; the best in brackets")
        print("form            samples/s a core")
        for name, seconds in times.items():
            count = steps * _BATCH if name == "resident" else len(spread)
            print(
                f"{name:<14}  {count / statistics.median(seconds):.0f} ({count / min(seconds):.0f})"
            )
        for name, source in forms.items():
            print(f"pipeline, {name}, a worker process a core: {_pipeline(source):.0f} samples/s")


@contextmanager
def _prepared_for_now(root: str, subsets: tuple[str, ...]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(root), Path(folder) / "set", subsets, workers=jax.local_device_count())
        yield Path(folder) / "set"


def _decode(source: Source) -> Run:
    augment, rng = RandomCropAndFlip(_AUGMENTATION), np.random.default_rng(0)

    def run() -> None:
        for index in range(len(source)):
            augment.random_map(source[index], rng)

    return run


def _plain(samples: Sequence[SampleFiles]) -> Run:
    """The least that a loader with OpenCV does."""
    rng = np.random.default_rng(0)

    def run() -> None:
        for sample in samples:
            composite, real = (
                cv2.cvtColor(np.asarray(cv2.imread(str(path))), cv2.COLOR_BGR2RGB)
                for path in (sample.composite, sample.real)
            )
            mask = np.asarray(cv2.imread(str(sample.mask)))[:, :, 0].astype(np.float32) / 255
            top, left, height, width = random_crop(*mask.shape[:2], rng=rng)
            window = (slice(top, top + height), slice(left, left + width))
            for pixels in (composite, real, mask):
                resize(pixels[window], _IMAGE_SIZE)

    return run


def _resident(source: Source, steps: int) -> Run:
    """One pass over samples held by the devices."""
    start = time.perf_counter()
    samples, storage = Numbered(source, "error"), Storage(_STORED_SIZE, num_workers=-1)
    batches = ResidentBatches(samples, _AUGMENTATION, _ORDER, create_mesh(), storage)
    seconds = time.perf_counter() - start
    print(f"resident: {len(source) / seconds:.0f} samples/s decoded and stored, once")

    def run() -> None:
        for _ in range(steps):
            jax.block_until_ready(next(batches))

    return run


def _pipeline(source: Source) -> float:
    batches = training_batches(Numbered(source, "error"), _AUGMENTATION, _ORDER, num_workers=-1)
    for _ in range(_UNTIMED):
        next(batches)
    start = time.perf_counter()
    for _ in range(_TIMED):
        next(batches)
    rate = _BATCH * _TIMED / (time.perf_counter() - start)
    batches.close()
    return rate
