"""Commands of the repository, run in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(*words: object, **environment: str) -> subprocess.CompletedProcess:
    """Runs Python with these words, such as `main.py --mode=train`, in the repository."""
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
    )


def failure(*words: object) -> str:
    """What a command that fails prints: one line."""
    result = run(*words)
    assert result.returncode == 1
    assert result.stdout == ""
    (line,) = [line for line in result.stderr.splitlines() if line.strip()]
    assert line.startswith("error: ")
    return line
