"""What the commands share: their parsers, which report a mistake in one line, and logs."""

import argparse
import io
import logging
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from absl import flags

from harmony_jax.errors import InputError, root_cause


class Parser(argparse.ArgumentParser):
    """Argparse's parser, which raises InputError and keeps the lines of its description."""

    def __init__(self, **options: Any):
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(formatter_class=formatter, allow_abbrev=False, **options)
        self.register("type", Path, _path)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, which `parse_args` calls; `~` in a value is the home folder."""
        words = sys.argv[1:] if args is None else args
        return super().parse_known_args(list(map(_expand_home, words)), namespace)

    def error(self, message: str) -> NoReturn:
        """Raises InputError."""
        raise InputError(f"{message} (--help shows how)")


def parse_flags(arguments: list[str], config: flags.FlagHolder) -> list[str]:
    """Absl's parser, which ends the program with one line for an invalid flag or config.

    `config` is the flag that names the config file. Returns the arguments that are no flags.
    """
    with errors_in_one_line(), flag_errors():
        rest = flags.FLAGS([_expand_model_config(_expand_home(word)) for word in arguments])
        getattr(config.value, "seed", None)  # a config that failed to load raises when it is read
    return rest


@contextmanager
def flag_errors() -> Iterator[None]:
    """Raises InputError for an invalid flag or config."""
    try:
        yield
    except (AttributeError, KeyError) as error:
        reason: object = error
        while isinstance(reason, KeyError):  # its text is the repr of the reason
            reason = reason.args[0]
        raise InputError(f"unknown config field: {_one_line(reason)}") from error
    except (flags.Error, OSError, SyntaxError, TypeError, ValueError) as error:
        raise InputError(_one_line(root_cause(error))) from error


def _path(text: str) -> Path:
    if not text:  # which would be the current folder
        raise argparse.ArgumentTypeError("is empty: pass a path")
    return Path(text)


def _expand_home(argument: str) -> str:
    """Changes --NAME=~/PATH, which shells leave as it is."""
    match = re.fullmatch(r"(--?[\w.-]+=)(~.*)", argument, re.DOTALL)
    return argument if match is None else match[1] + os.path.expanduser(match[2])


def _expand_model_config(argument: str) -> str:
    """Changes configs/NAME.py, where there is no such file, to configs/model.py:NAME."""
    match = re.fullmatch(r"(--?config=)([^=]*?)(\w+)\.py", argument)
    if match is None:
        return argument
    file, models = (Path(f"{match[2]}{stem}.py") for stem in (match[3], "model"))
    return argument if file.exists() or not models.exists() else f"{match[1]}{models}:{match[3]}"


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Ends the program with one line: status 1 for bad input, 130 if it is interrupted."""
    print_any_name()
    try:
        yield
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted: run the same command again", file=sys.stderr)
        sys.exit(130)  # as a shell reports it


def end_on_interrupt() -> None:
    """From here on Ctrl-C ends the program at once, in one line and with exit status 130.

    An exception would not: libraries that load or compile swallow or wrap it.
    """
    signal.signal(signal.SIGINT, _end)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if "harmony_jax.disk" in sys.modules:  # else nothing is being written
        sys.modules["harmony_jax.disk"].remove_unfinished()
    print("\ninterrupted: the same command begins again, or continues", file=sys.stderr, flush=True)
    os._exit(130)  # as a shell reports it


def print_any_name() -> None:
    """Lets names of files be printed that the terminal's encoding lacks, with backslashes."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a notebook's is another
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr does


def log_to_terminal() -> None:
    """Shows this package's messages, with the time of day."""
    print_any_name()
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("harmony_jax")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _one_line(text: object) -> str:
    return " ".join(str(text).split())
