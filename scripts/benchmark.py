"""Measures speed and memory; docs/performance.md keeps the results.

    python scripts/benchmark.py models [--names=improved_dih256,...|all] [--released=CLONE]
    python scripts/benchmark.py step [--names=improved_dih256,...|all]
    python scripts/benchmark.py dispatch [--names=improved_dih256,...|all]
    python scripts/benchmark.py input --root=IHARMONY4 [--prepared=PREPARED]
    python scripts/benchmark.py composites --photos=PHOTOS
    python scripts/benchmark.py train --root=IHARMONY4 [--names=...] [--placements=stream,device]
    python scripts/benchmark.py train --synthetic [--names=...] [--batches=64] [--released=CLONE]
    python scripts/benchmark.py full_resolution [--names=improved_dih256,...] [--root=IHARMONY4]
    python scripts/benchmark.py video --photos=PHOTOS [--ways=0:1,4:1,...] [--everys=1,4,8]

models: compile seconds and ms an image, forward and forward+backward, and what `step` prints.
        --released names a clone of the authors' PyTorch repository (needs torch and tensorboard),
        whose model is timed in turns with ours.
step:   compile seconds and peak memory of the whole training step, each in a process of its own.
dispatch: CPU ms that a call of the training step and of evaluation takes besides computing, and the
        same were their arrays in a tree.
input:  samples/s of the folders, the prepared set and samples held by the devices. A core's rate
        is in CPU time, all threads together.
composites: ms an image for making composites of photos, in a worker and on the device.
train:  images/s of the training loop and the share of time spent waiting for data, each
        combination of model, batch and placement in a process of its own.
        --synthetic: the step alone, its data on the device: images/s, what the host takes for a
        call, kernels (of a GPU, from a trace) and launches, and the floors of arithmetic and bytes
        with their share of the step. --released: beside the authors' model under autocast, with
        channels_last and fused Adam, with and without torch.compile, in turns in one process.
        --compiler_option: compiled with another NAME=VALUE.
full_resolution: ms and peak memory of a 12-megapixel photo, each model in a process of its own;
        with --root, PSNR inside the mask and fMSE at full size with the real photo at 256 pixels
        for a prediction, which is what the way to full resolution alone keeps.
video:  of clips made of photos with masks: how much of the answers' flicker each way of averaging
        leaves (smoothing:every), with the fMSE; and frames/s of one of 1920 x 1080.

Times are medians; the best is in brackets.
"""

import argparse
import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # configs

from harmony_jax.models import list_models
from harmony_jax.models.arithmetic import PRECISIONS


def main() -> None:
    """Parses the command and prints its table."""
    arguments = _parse()
    if arguments.command == "input":
        loading = importlib.import_module("benchmarks.loading")
        loading.measure(arguments.root, arguments.prepared, arguments.samples, arguments.rounds)
        return
    if arguments.command == "composites":
        composites = importlib.import_module("benchmarks.composites")
        composites.measure(arguments.photos, arguments.batch, arguments.rounds)
        return
    if arguments.command == "video":
        video = importlib.import_module("benchmarks.video")
        if arguments.ways:
            video.measure_steadiness(
                arguments.photos, arguments.clips, arguments.frames, arguments.ways
            )
        if arguments.everys:
            video.measure_speed(arguments.photos, arguments.frames, arguments.everys)
        return
    names = list_models() if arguments.names == ["all"] else arguments.names
    unknown = sorted(set(names) - set(list_models()))
    if unknown:
        sys.exit(f"error: --names {', '.join(unknown)}: choose of {', '.join(list_models())}")
    if arguments.command == "models":
        importlib.import_module("benchmarks.models").measure(names, arguments)
    elif arguments.command == "step":
        step = importlib.import_module("benchmarks.step")
        measure = step.measure if arguments.here else step.measure_apart
        for name in names:
            for batch in arguments.batches:
                measure(name, arguments.dtype, batch)
    elif arguments.command == "dispatch":
        dispatch = importlib.import_module("benchmarks.dispatch")
        for name in names:
            dispatch.measure(name)
    elif arguments.command == "full_resolution":
        full_resolution = importlib.import_module("benchmarks.full_resolution")
        if arguments.root:
            full_resolution.measure_quality(arguments.root)
        measure = full_resolution.measure if arguments.here else full_resolution.measure_apart
        for name in names:
            measure(name)
    elif arguments.synthetic:
        synthetic = importlib.import_module("benchmarks.synthetic")
        measure = synthetic.measure if arguments.here else synthetic.measure_apart
        if not arguments.here:
            synthetic.print_header()
        for name in names:
            for batch in arguments.batches:
                measure(name, batch, arguments)
    else:
        training = importlib.import_module("benchmarks.training")
        measure = training.measure if arguments.here else training.measure_apart
        for name in names:
            for batch in arguments.batches:
                for placement in arguments.placements:
                    measure(
                        name, arguments.root, arguments.dtype, batch, placement, arguments.steps
                    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    models, step, train = (commands.add_parser(name) for name in ("models", "step", "train"))
    for command, batches in ((models, "1,8"), (step, "16"), (train, "16")):
        command.add_argument("--names", default="improved_dih256,hrnet18s_idih256", type=_words)
        command.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
        command.add_argument(
            "--batches", "--batch_size", default=batches, type=_numbers, help="images a step"
        )
    models.add_argument("--rounds", type=int, default=7)
    models.add_argument(
        "--precision",
        choices=list(PRECISIONS),
        help="of float32 products; by default as in use: highest forward, default with backward",
    )
    models.add_argument("--released", type=Path)
    models.add_argument(
        "--default-allocator", action="store_true", help="leave glibc's allocator as it is"
    )
    full, dispatch = (commands.add_parser(name) for name in ("full_resolution", "dispatch"))
    for command in (full, dispatch):
        command.add_argument("--names", default="improved_dih256,hrnet18s_idih256", type=_words)
    full.add_argument("--root", help="iHarmony4 as downloaded")
    for command in (step, train, full):
        command.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    train.add_argument("--root", help="iHarmony4, downloaded or prepared")
    train.add_argument("--synthetic", action="store_true", help="the step alone, without data")
    train.add_argument("--released", type=Path, help="with --synthetic: a clone of their code")
    train.add_argument("--rounds", type=int, default=3, help="with --synthetic, of so many steps")
    train.add_argument(
        "--compiler_option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="with --synthetic, any number: as train.compiler_options",
    )
    train.add_argument("--placements", default="stream,device", type=_words)
    train.add_argument("--steps", type=int, default=20, help="steps to time")
    composites = commands.add_parser("composites")
    composites.add_argument("--photos", required=True, help="a folder of photos (docs/data.md)")
    composites.add_argument("--batch", type=int, default=128, help="images a step")
    composites.add_argument("--rounds", type=int, default=5)
    video = commands.add_parser("video")
    video.add_argument("--photos", required=True, help="a folder of photos with masks")
    video.add_argument("--ways", default="0:1,4:1,4:4,4:8", type=_ways, help="smoothing:every")
    video.add_argument("--everys", default="1,4,8", type=_numbers, help="of the clip to be timed")
    video.add_argument("--clips", type=int, default=8)
    video.add_argument("--frames", type=int, default=48, help="of each clip")
    loading = commands.add_parser("input")
    loading.add_argument("--root", required=True, help="iHarmony4 as downloaded")
    loading.add_argument(
        "--prepared", type=Path, help="the same, prepared; by default made for this run"
    )
    loading.add_argument("--samples", type=int, default=256)
    loading.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.command == "train":
        if bool(arguments.root) == arguments.synthetic:
            train.error("choose --root=IHARMONY4, or --synthetic for the step alone")
        if arguments.released and not arguments.synthetic:
            train.error("--released needs --synthetic: PyTorch's step is measured without data")
        if arguments.compiler_option and not arguments.synthetic:
            train.error("--compiler_option needs --synthetic")
    return arguments


def _words(text: str) -> list[str]:
    return text.split(",")


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",") if number]


def _ways(text: str) -> list[tuple[float, int]]:
    pairs = [pair.split(":") for pair in text.split(",") if pair]
    return [(float(smoothing), int(every)) for smoothing, every in pairs]


if __name__ == "__main__":
    main()
