"""Trains and evaluates the rows of one of the paper's tables, and prints ours beside its numbers.

    python scripts/run_table.py 3 --workdir=runs/table3 --config.data.root=IHARMONY4
    python scripts/run_table.py 5 --workdir=runs/table5 --config.data.root=IHARMONY4 \\
        --imagenet=FOLDER [--rows=hrnet18s,hrnet18] [--config.FIELD=VALUE ...]

Each row is a training of main.py in WORKDIR/ROW. Interrupted, the same command continues; rows that
are finished stay as they are. The table shows whatever rows WORKDIR holds, and is written to
WORKDIR/tableN.md and .json. docs/experiments.md says more.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from harmony_jax.command_line import Parser, errors_in_one_line, flag_errors, log_to_terminal
from harmony_jax.config_ranges import check_config
from harmony_jax.data.splits import open_split
from harmony_jax.errors import InputError
from harmony_jax.evaluation.published import TABLES, PaperTable, find_table
from harmony_jax.paper.comparison import read_result, table_text, write_table
from harmony_jax.paper.runs import Relay, RowRun, check_backbone, command, row_run

_STOPPED = (129, 130, 143)  # as a shell reports SIGHUP, SIGINT and SIGTERM

_LOGGER = logging.getLogger("harmony_jax")


@errors_in_one_line()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one table; rows that failed end with exit status 1."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where configs find each other
    log_to_terminal()
    options, config_arguments = _parse(arguments)
    table = find_table(options.table)
    overrides = _overrides(table, options.workdir, config_arguments)
    backbone = overrides.pop("init.backbone", "")
    imagenet = options.imagenet
    if imagenet is not None and not imagenet.is_dir():
        raise InputError(f"--imagenet={imagenet}: no such folder")
    runs = {
        row.key: row_run(
            table,
            row,
            options.workdir,
            backbone=backbone,
            imagenet=imagenet,
            from_scratch=options.from_scratch,
        )
        for row in table.experiment_rows()
    }
    keys = list(runs) if options.rows is None else [k for k in options.rows.split(",") if k]
    failed = _train([runs[table.find(key).key] for key in keys], overrides)
    _show(table, runs, options.workdir)
    if failed:
        raise InputError(f"{len(failed)} of {len(keys)} rows failed: {', '.join(failed)}")


def _parse(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The script's own flags, and those of the config."""
    parser = Parser(description=__doc__)
    parser.add_argument("table", type=int, help=f"its number: {', '.join(map(str, TABLES))}")
    parser.add_argument("--workdir", type=Path, required=True, help="folder of the rows' workdirs")
    parser.add_argument(
        "--rows", help="which ones to train, with commas; by default all; empty: only the table"
    )
    parser.add_argument(
        "--imagenet", type=Path, help="folder with the ImageNet weight files of backbones"
    )
    parser.add_argument(
        "--from_scratch",
        action="store_true",
        help="train rows that want ImageNet weights without, in WORKDIR/ROW_from_scratch",
    )
    return parser.parse_known_args(arguments)


def _overrides(table: PaperTable, folder: Path, config_arguments: list[str]) -> dict[str, Any]:
    """The values of --config.FIELD flags, checked against one row's config."""
    first = row_run(table, table.experiment_rows()[0], folder)
    _, overrides = _load_config(first.config, config_arguments)
    own = {"model.name", *(name for row in table.rows for name in row.overrides or {})}
    for field in overrides:
        if field in own:
            raise InputError(
                f"--config.{field}: the rows of table {table.number} say it themselves: leave it "
                "out, or train a row with main.py"
            )
    return overrides


def _train(runs: list[RowRun], overrides: dict[str, Any]) -> list[str]:
    """Trains rows one after another.

    Returns:
        Keys of those that failed, whose reason has been printed.
    """
    failed = []
    for run in runs:
        try:
            check_backbone(run)
        except InputError as error:  # said now, not in days when its turn comes
            print(f"error: {error}", file=sys.stderr)
            failed.append(run.row.key)
    ready = [run for run in runs if run.row.key not in failed]
    if ready:
        config_arguments = [f"--config.{field}={value}" for field, value in overrides.items()]
        config, _ = _load_config(ready[0].config, config_arguments)
        check_config(config)
        open_split(config.data, "train")  # a mistake that all rows share, said once
    with Relay() as relay:
        for number, run in enumerate(ready, 1):
            _LOGGER.info("Row %d of %d, %s: %s", number, len(ready), run.row.key, run.row.label)
            status = relay.run(command(run, overrides))
            if relay.signal or status in _STOPPED:
                print("stopped: the same command continues", file=sys.stderr)
                sys.exit(status)
            if status:
                _LOGGER.warning("Row %s failed with status %d", run.row.key, status)
                failed.append(run.row.key)
    return failed


def _show(table: PaperTable, runs: dict[str, RowRun], folder: Path) -> None:
    """Prints and writes the table of all rows that have been evaluated."""
    results = {}
    for key, run in runs.items():
        result = read_result(table, run.workdir, _load_config(run.config, [])[0])
        if result is None:
            continue
        if run.from_scratch:
            result.notes.append(f"random weights instead of {run.row.weights}")
        results[key] = result
    written = write_table(table, results, folder)
    print(f"{table_text(table, results)}\nWritten: {' and '.join(map(str, written))}")


def _load_config(path: str, arguments: list[str]) -> tuple[ConfigDict, dict[str, Any]]:
    """A row's config, as main.py would read it, and the fields that the arguments change."""
    words, values = ["run_table", f"--config={path}", *arguments], flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=words)
    with flag_errors():
        rest = values(words)
        config = values["config"].value
        overrides = dict(config_flags.get_override_values(values["config"]))
    if len(rest) > 1:
        raise InputError(f"argument {rest[1]!r}: flags begin with --")
    return config, overrides


if __name__ == "__main__":
    main()
