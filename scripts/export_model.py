"""Writes a model as one file that runs without this package: StableHLO for JAX, or ONNX.

    python scripts/export_model.py --checkpoint=runs/idih --output=idih.stablehlo
    python scripts/export_model.py --checkpoint=ready --output=idih.onnx

The output's ending chooses the format. Before the file is written, it is run and compared with the
model.
docs/export.md shows how to run the files. Needs pip install -e '.[export]'.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from harmony_jax.command_line import Parser, errors_in_one_line
from harmony_jax.devices.compilation_cache import keep_compiled_programs
from harmony_jax.disk import check_writable, write_file
from harmony_jax.errors import InputError
from harmony_jax.weights.export import (
    PLATFORMS,
    TOLERANCE,
    export_onnx,
    export_stablehlo,
    onnx_difference,
    stablehlo_difference,
    this_platform,
)
from harmony_jax.weights.released import checkpoint_path
from harmony_jax.weights.saved_model import load_model


@errors_in_one_line()
def main(arguments: Sequence[str] | None = None) -> None:
    """Exports one model."""
    keep_compiled_programs()
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # it warns of shapes that it leaves out
    options = _parse(arguments)
    output, ending = options.output, options.output.suffix
    if ending not in (".stablehlo", ".onnx"):
        raise InputError(f"{output}: unknown ending {ending!r}: use .stablehlo or .onnx")
    if ending == ".onnx" and options.platforms is not None:
        raise InputError("--platforms: only for StableHLO: leave it out")
    if output.exists():
        raise InputError(f"{output}: is there already: choose another name or remove it")
    check_writable(output.parent)
    model, loaded = load_model(checkpoint_path(options.checkpoint))
    size = loaded.metadata["image_size"] if options.image_size is None else options.image_size
    if ending == ".onnx":
        data = export_onnx(model, size)
        difference = onnx_difference(data, model, size)
    else:
        platforms = options.platforms.split(",") if options.platforms else PLATFORMS
        data = export_stablehlo(model, size, platforms)
        here = this_platform()  # which may not be among those asked for
        checked = data if here in platforms else export_stablehlo(model, size, [here])
        difference = stablehlo_difference(checked, model, size)
    if not difference <= TOLERANCE:
        raise InputError(
            f"{output}: not written: it differs from the model by {difference:g} of 255, where "
            f"{TOLERANCE:g} is allowed: choose another model or format"
        )
    write_file(output, data)
    print(
        f"{output}: {loaded.metadata['model']['name']} at {size} x {size} pixels, "
        f"{len(data) / 1e6:.1f} MB; differs from the model by at most {difference:.2g} of 255"
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--checkpoint",
        required=True,
        metavar="MODEL",
        help="workdir of a training, one of its checkpoints/STEP, a .safetensors file written by "
        "convert_weights.py, ready (which comes with the package) or a released model's name",
    )
    parser.add_argument(
        "--output", required=True, type=Path, metavar="FILE", help="NAME.stablehlo or NAME.onnx"
    )
    parser.add_argument(
        "--image-size", type=int, metavar="N", help="pixels a side (by default as trained)"
    )
    parser.add_argument(
        "--platforms",
        metavar="LIST",
        help=f"where a StableHLO file can run (by default {','.join(PLATFORMS)})",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
