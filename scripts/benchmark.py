"""Measures speed and memory; docs/performance.md keeps the results.

    python scripts/benchmark.py models [--names=improved_dih256,...|all] [--released=CLONE]
    python scripts/benchmark.py train --synthetic [--names=...] [--batches=64] [--released=CLONE]
    python scripts/benchmark.py input --root=IHARMONY4 [--prepared=PREPARED]
    python scripts/benchmark.py composites --photos=PHOTOS
    python scripts/benchmark.py results --root=IHARMONY4 [--checkpoint=ready] [--sheet=FILE.png]
    python scripts/benchmark.py full_resolution [--names=improved_dih256,...]
    python scripts/benchmark.py video --photos=PHOTOS [--ways=0:1,4:1,...] [--everys=1,4,8]

models: compile seconds and ms an image, forward and forward+backward.
train:  the training step alone, with its data on the device, each model and batch in a process of
        its own. (The log of main.py says how long a whole training waits for data.)
input:  samples/s of the folders, the prepared set and samples held by the devices.
composites: ms an image for making composites of photos, in a worker and on the device.
results: what `harmonize` does at full size: the error left in the test composites, how much real
        photos' own objects change, and what becomes of blacks and contrast of objects that are
        pasted on other photos. --sheet draws these before and after.
full_resolution: ms and peak memory of a 12-megapixel photo.
video:  how steady each way of averaging (smoothing:every) makes clips of photos with masks, and
        frames/s of a clip of 1920 x 1080.

--released names a clone of the authors' PyTorch repository (needs torch and tensorboard). Its model
takes turns with ours in one process. Times are medians; the best is in brackets.
"""

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # configs

from harmony_jax.models import list_models

_MODULES = {"train": "training_step", "input": "loading"}  # others are named as their command


def main() -> None:
    """Parses the command and prints its table."""
    arguments = _parse()
    name = _MODULES.get(arguments.command, arguments.command)
    importlib.import_module(f"benchmarks.{name}").measure(arguments)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    names: Any = {"default": _names("improved_dih256,hrnet18s_idih256"), "type": _names}
    models, train = commands.add_parser("models"), commands.add_parser("train")
    for command, batches, rounds in ((models, "1,8", 7), (train, "16", 3)):
        command.add_argument("--names", **names)
        command.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
        command.add_argument("--batches", default=batches, type=_numbers, help="images a step")
        command.add_argument("--rounds", type=int, default=rounds)
        command.add_argument("--released", type=Path, help="clone of the authors' repository")
    models.add_argument(
        "--default-allocator", action="store_true", help="leave glibc's allocator as it is"
    )
    train.add_argument("--synthetic", action="store_true", required=True, help="without a data set")
    train.add_argument("--steps", type=int, default=20, help="of a round")
    train.add_argument(
        "--compiler_option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="like train.compiler_options; may be repeated",
    )
    loading = commands.add_parser("input")
    loading.add_argument("--root", required=True, help="iHarmony4 as downloaded")
    loading.add_argument(
        "--prepared", type=Path, help="the same, prepared; by default made for this run"
    )
    loading.add_argument("--samples", type=int, default=256)
    loading.add_argument("--rounds", type=int, default=5)
    composites = commands.add_parser("composites")
    composites.add_argument("--photos", required=True, help="a folder of photos (docs/data.md)")
    composites.add_argument("--batch", type=int, default=128, help="images a step")
    composites.add_argument("--rounds", type=int, default=5)
    results = commands.add_parser("results")
    results.add_argument("--root", required=True, help="iHarmony4 as downloaded")
    results.add_argument("--checkpoint", help="a model (default: ready)")
    results.add_argument("--strength", type=float, default=1.0)
    results.add_argument("--sheet", type=Path, help="picture file to write")
    full = commands.add_parser("full_resolution")
    full.add_argument("--names", **names)
    for command in (train, full):  # in the process of one model and batch
        command.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    video = commands.add_parser("video")
    video.add_argument("--photos", required=True, help="a folder of photos with masks")
    video.add_argument("--ways", default="0:1,4:1,4:4,4:8", type=_ways, help="smoothing:every")
    video.add_argument("--everys", default="1,4,8", type=_numbers, help="of the clip to be timed")
    video.add_argument("--clips", type=int, default=8)
    video.add_argument("--frames", type=int, default=48, help="of each clip")
    return parser.parse_args()


def _names(text: str) -> list[str]:
    names = list_models() if text == "all" else text.split(",")
    if unknown := sorted(set(names) - set(list_models())):
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: choose of {list_models()}")
    return names


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",") if number]


def _ways(text: str) -> list[tuple[float, int]]:
    pairs = [pair.split(":") for pair in text.split(",") if pair]
    return [(float(smoothing), int(every)) for smoothing, every in pairs]


if __name__ == "__main__":
    main()
