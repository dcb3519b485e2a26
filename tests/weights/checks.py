"""Arrays that are the same, and lines that files and commands are refused with."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harmony_jax import InputError
from harmony_jax.weights.files import read_state_dict


def assert_same_arrays(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """The same keys, types, shapes and bits."""
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert (found[key].dtype, found[key].shape) == (value.dtype, value.shape), key
        np.testing.assert_array_equal(found[key], value, err_msg=key)


def refusal(path: Path) -> str:
    """The one short line that a file of weights is refused with."""
    with pytest.raises(InputError) as error:
        read_state_dict(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    assert len(message) < len(str(path)) + 300
    return message


def failure(main: Callable, *arguments: str) -> str:
    """The line that a command prints to stderr before it ends with status 1."""
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    line = exit_.value.code
    assert isinstance(line, str)
    assert line.startswith("error: ")
    assert "\n" not in line
    return line
