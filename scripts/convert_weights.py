"""Converts a model's weights: PyTorch's .pth or safetensors to a checkpoint, and back.

    python scripts/convert_weights.py --model=improved_dih256 --input=idih256.pth --output=runs/idih
    python scripts/convert_weights.py --download=improved_dih256 --output=runs/idih
    python scripts/convert_weights.py --input=runs/idih --output=idih256.pth
    python scripts/convert_weights.py --input=ready --output=ready.pth
    python scripts/convert_weights.py --input=runs/idih --output=half.safetensors --dtype=float16
    python scripts/convert_weights.py --model=improved_dih256 --input=a.pth --output=b.safetensors
    python scripts/convert_weights.py --model=hrnet18s_idih256 --override fuse_into=both \\
        --input=a.pth --output=runs/both

A checkpoint and a .safetensors file written here say which model they hold; a .pth file does not.
An output that does not end in .pth or .safetensors becomes a workdir, for main.py --checkpoint.
"""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from harmony_jax.command_line import Parser, errors_in_one_line
from harmony_jax.errors import InputError
from harmony_jax.models import parse_argument, released_image_size
from harmony_jax.weights.convert import Converted, convert
from harmony_jax.weights.downloads import BASE_ADDRESS, FILES, cache_folder, download
from harmony_jax.weights.files import TORCH_ENDINGS
from harmony_jax.weights.model_file import DTYPES
from harmony_jax.weights.released import checkpoint_path


@errors_in_one_line()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one conversion."""
    options = _parse(arguments)
    name = options.model
    if options.download is None:
        for flag in ("cache", "base_address"):
            if getattr(options, flag) is not None:
                raise InputError(f"--{flag.replace('_', '-')}: only for --download")
        if options.output is None:
            raise InputError("--output is missing: name a weight file or a workdir to make")
        source = checkpoint_path(options.input)
    else:
        if name not in (None, options.download):
            raise InputError(f"--model={name}: --download={options.download} is another model")
        name = options.download
        source = download(name, options.cache, options.base_address or BASE_ADDRESS)
        if options.output is None:
            print(f"{name}: released weights are in {source}")
            return
    overrides = dict(parse_argument(text) for text in options.override)
    written = convert(source, options.output, name, overrides, options.image_size, options.dtype)
    print(
        f"{written.name}: {written.num_arrays} arrays, {written.num_parameters / 1e6:.2f} M "
        f"parameters, written to {options.output}"
    )
    if options.output.suffix.lower() in TORCH_ENDINGS:
        print(f"Back: {_command_back(written, options.output)}")
    else:
        print(f"Use: harmonize photo.jpg mask.png -o out.png --checkpoint={options.output}")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--model", help="released name, if the input does not say it")
    parser.add_argument(
        "--override",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="model argument that differs from the released one, such as fuse_into=both, if the "
        "input does not say it; may be repeated",
    )
    parser.add_argument(
        "--image-size",
        type=int,
        metavar="N",
        help="pixels a side in training, if the input does not say it; by default as released",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--input",
        metavar="MODEL",
        help="weight file, workdir, checkpoint folder, ready (which comes with the package) or a "
        "released model's name",
    )
    source.add_argument(
        "--download", metavar="MODEL", help=f"fetch released weights: {', '.join(FILES)}"
    )
    parser.add_argument(
        "--output", type=Path, help="weight file or workdir to make; optional for a download"
    )
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default="float32",
        help="of a weight file's arrays with more than 4096 numbers; by default %(default)s",
    )
    parser.add_argument("--cache", type=Path, help=f"of downloads; by default {cache_folder()}")
    parser.add_argument("--base-address", help=f"of downloads; by default {BASE_ADDRESS}")
    return parser.parse_args(arguments)


def _command_back(written: Converted, output: Path) -> str:
    """The command that makes a workdir of a PyTorch file, which does not name its model."""
    words = [f"--model={written.name}"]
    words += [f"--override={key}={value}" for key, value in written.overrides.items()]
    if written.image_size != released_image_size(written.name):
        words.append(f"--image-size={written.image_size}")
    words += [f"--input={output}", "--output=WORKDIR"]
    return shlex.join(["python", "scripts/convert_weights.py", *words])


if __name__ == "__main__":
    main()
