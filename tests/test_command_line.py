import io
import os
import sys
from pathlib import Path

import pytest
from absl import flags
from ml_collections import config_flags

from harmony_jax import InputError
from harmony_jax.command_line import Parser, errors_in_one_line, parse_flags
from tests.commands import ROOT, run


@pytest.fixture
def parser():
    parser = Parser()
    parser.add_argument("--output", type=Path)
    parser.add_argument("--base", default="~")
    return parser


@pytest.mark.filterwarnings("ignore:the load_module")  # of ml_collections
def test_the_home_folder_in_a_value(parser, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    found = parser.parse_args(["--output=~/x", "--base=a/~"])
    assert (found.output, found.base) == (Path("/home/me/x"), "a/~")
    values = flags.FlagValues()
    monkeypatch.setattr(flags, "FLAGS", values)
    words = [
        "main.py",
        f"--config={ROOT / 'configs' / 'base.py'}",
        "--config.data.root=~/data",
        "--config.init.checkpoint=~",
        "--workdir=~/run",
    ]
    config = config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=words)
    flags.DEFINE_string("workdir", None, "", flag_values=values)
    assert parse_flags(words, config) == ["main.py"]
    assert config.value.data.root == "/home/me/data"
    assert config.value.init.checkpoint == "/home/me"
    assert values.workdir == "/home/me/run"


def test_any_name_can_be_printed(monkeypatch):
    for encoding, printed in (("utf-8", "caf\\udce9 \u96ea"), ("ascii", "caf\\udce9 \\u96ea")):
        stream = io.TextIOWrapper(io.BytesIO(), encoding)
        monkeypatch.setattr(sys, "stdout", stream)
        with errors_in_one_line():
            print(os.fsdecode(b"caf\xe9"), "\u96ea", end="", flush=True)
        assert stream.buffer.getvalue() == printed.encode(encoding)


def test_an_empty_path_is_not_the_current_folder(parser):
    with pytest.raises(InputError, match="argument --output: is empty: pass a path"):
        parser.parse_args(["--output="])


INTERRUPTED = """if True:
    import os, signal
    from harmony_jax.command_line import end_on_interrupt
    end_on_interrupt()
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:  # as libraries that load or compile do
        pass
    print("going on")
"""


def test_ctrl_c_ends_a_command_in_one_line_whatever_it_is_at():
    result = run("-c", INTERRUPTED)
    assert result.returncode == 130
    assert result.stdout == ""
    (line,) = result.stderr.split("\n")[1:-1]
    assert line.startswith("interrupted: ")
