"""Trains, evaluates or runs a harmonization model.

    python main.py --config=configs/improved_dih256.py --workdir=runs/idih --config.data.root=DIR
    python main.py ... --mode=evaluate [--checkpoint=DIR | --predictions=FOLDER]
    python main.py --mode=predict [--checkpoint=runs/idih] --image=a.jpg --mask=a.png --output=b.jpg

Kept short: everything is in the package.
"""

import logging
import sys
from pathlib import Path

from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

from harmony_jax.command_line import end_on_interrupt, log_to_terminal, parse_flags
from harmony_jax.devices import failures
from harmony_jax.errors import InputError, NonFiniteError, StoppedError

# What needs JAX takes seconds to load, so `_run` imports it: a mistake in the flags is reported at
# once, and data workers, which load this file again, stay small.

_CONFIG = config_flags.DEFINE_config_file("config", None, "Config file; its fields are flags too.")
_WORKDIR = flags.DEFINE_string("workdir", "", "Folder for checkpoints, logs and results.")
_MODE = flags.DEFINE_enum(
    "mode", "train", ["train", "evaluate", "predict"], "Train (and evaluate), evaluate or predict."
)
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint",
    None,
    "Workdir, checkpoint folder or .safetensors file; ready, the model of the package; or the name "
    "of a released model. By default --workdir to evaluate, ready to predict.",
)
_PREDICTIONS = flags.DEFINE_string(
    "predictions", None, "evaluate: folder of pictures made by any program, instead of a model."
)
_IMAGE = flags.DEFINE_string("image", "", "predict: a photo, or a folder of photos.")
_MASK = flags.DEFINE_string(
    "mask", None, "predict: its mask, or a folder of masks; by default the alpha channel."
)
_OUTPUT = flags.DEFINE_string("output", "", "predict: file or folder to write.")
_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "Several processes: HOST:PORT of process 0. Cloud TPU, srun and mpirun need none of the three.",
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Several processes: how many.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Several processes: which one, from 0.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "predict: replace outputs already there.")

_NEEDED: dict[str, tuple[flags.FlagHolder, ...]] = {
    "train": (_CONFIG, _WORKDIR),
    "evaluate": (_CONFIG, _WORKDIR),
    "predict": (_IMAGE, _OUTPUT),
}


def main(arguments: list[str]) -> None:
    """Runs one mode; a mistake in the input ends in one line and exit status 1."""
    log_to_terminal()
    absl_logging.set_verbosity(absl_logging.WARNING)  # orbax and jax tell every detail at INFO
    try:
        if len(arguments) > 1:
            raise InputError(f"argument {arguments[1]!r}: flags begin with --")
        for flag in _NEEDED[_MODE.value]:
            if not flag.value:
                raise InputError(f"--{flag.name} is missing: --mode={_MODE.value} needs it")
        with failures.ending_together():
            _run()
    except (InputError, NonFiniteError) as error:
        sys.exit(f"error: {error}")
    except StoppedError as stop:
        print(stop, file=sys.stderr)
        sys.exit(128 + stop.signal)  # as a shell reports a signal


def _run() -> None:
    import jax

    from harmony_jax.devices.compilation_cache import keep_compiled_programs
    from harmony_jax.devices.distributed import join_processes
    from harmony_jax.devices.host_memory import keep_freed_memory

    keep_freed_memory()
    keep_compiled_programs()
    join_processes(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    if jax.process_index() > 0:
        logging.getLogger("harmony_jax").setLevel(logging.WARNING)
    if _MODE.value == "train":
        from harmony_jax.training.loop import train

        train(_CONFIG.value, Path(_WORKDIR.value))
    elif _MODE.value == "evaluate":
        from harmony_jax.evaluation.run import evaluate_workdir

        workdir, predictions = Path(_WORKDIR.value), _path(_PREDICTIONS)
        evaluate_workdir(_CONFIG.value, workdir, _CHECKPOINT.value or None, predictions)
    else:
        from harmony_jax.photos.folders import Settings, harmonize_files

        files = Path(_IMAGE.value), _path(_MASK), Path(_OUTPUT.value)
        settings = Settings(overwrite=_OVERWRITE.value)
        sys.exit(harmonize_files(_CHECKPOINT.value or None, *files, settings))


def _path(flag: flags.FlagHolder) -> Path | None:
    return Path(flag.value) if flag.value else None


if __name__ == "__main__":
    end_on_interrupt()
    app.run(main, flags_parser=lambda arguments: parse_flags(arguments, _CONFIG))
