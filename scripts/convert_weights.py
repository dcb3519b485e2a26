"""Converts a model's weights: PyTorch's .pth or safetensors to a checkpoint, and back.

    python scripts/convert_weights.py --model=improved_dih256 --input=idih256.pth --output=runs/idih
    python scripts/convert_weights.py --download=improved_dih256 --output=runs/idih
    python scripts/convert_weights.py --input=runs/idih --output=idih256.pth
    python scripts/convert_weights.py --model=improved_dih256 --input=a.pth --output=b.safetensors

An output that does not end in .pth or .safetensors is a workdir to be, for main.py --checkpoint.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from harmony_jax.command_line import Parser
from harmony_jax.errors import InputError
from harmony_jax.weights.convert import convert
from harmony_jax.weights.downloads import BASE_ADDRESS, FILES, cache_folder, download
from harmony_jax.weights.files import is_weight_file


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one conversion; a mistake in the input ends in one line and exit status 1."""
    try:
        _run(_parse(arguments))
    except InputError as error:
        sys.exit(f"error: {error}")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--model", help="released name; a checkpoint and a download know theirs")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--input", type=Path, help="weight file, workdir or checkpoint folder")
    source.add_argument(
        "--download", metavar="MODEL", help=f"fetch released weights: {', '.join(FILES)}"
    )
    parser.add_argument(
        "--output", type=Path, help="weight file or workdir to make; a download may go without"
    )
    parser.add_argument("--cache", type=Path, help=f"of downloads; by default {cache_folder()}")
    parser.add_argument("--base-address", help=f"of downloads; by default {BASE_ADDRESS}")
    return parser.parse_args(arguments)


def _run(arguments: argparse.Namespace) -> None:
    source, name = arguments.input, arguments.model
    if arguments.download is None:
        for flag in ("cache", "base_address"):
            if getattr(arguments, flag) is not None:
                raise InputError(f"--{flag.replace('_', '-')} goes with --download alone")
        if arguments.output is None:
            raise InputError("--output is missing: name a weight file or a workdir to make")
    else:
        if name not in (None, arguments.download):
            raise InputError(f"--model={name}: --download={arguments.download} is another model")
        name = arguments.download
        source = download(name, arguments.cache, arguments.base_address or BASE_ADDRESS)
        if arguments.output is None:
            print(f"{name}: released weights are in {source}")
            return
    written = convert(source, arguments.output, name)
    print(
        f"{written.name}: {written.num_arrays} arrays, {written.num_parameters / 1e6:.2f} M "
        f"parameters, written to {arguments.output}"
    )
    if not is_weight_file(arguments.output):
        print(f"Use: harmonize photo.jpg mask.png -o out.png --checkpoint={arguments.output}")


if __name__ == "__main__":
    main()
