"""Compiler options of the training step (`train.compiler_options`).

What the compiler refuses is left out, and a step that fails where it runs is compiled without
(`CautiousStep`), so that an option of another version or machine costs a line in the log.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from harmony_jax.devices import mesh as meshes
from harmony_jax.errors import InputError

_LOGGER = logging.getLogger(__name__)


def compiler_options(texts: Sequence[str], mesh: Mesh) -> dict[str, str]:
    """The options that the mesh's compiler takes; what it refuses is logged, a line each.

    Args:
        texts: each NAME=VALUE.
        mesh: of any platform, also of devices that are not there.

    Raises:
        InputError: a text is not of this form.
    """
    taken = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise InputError(
                f"train.compiler_options {text!r}: expected NAME=VALUE, as in "
                "xla_gpu_enable_command_buffer=FUSION,CUBLAS"
            )
        if refusal := _refusal({name: value}, mesh):
            _LOGGER.warning("train.compiler_options %s is left out: %s", text, refusal)
        else:
            taken[name] = value
    return taken


def _refusal(options: Mapping[str, str], mesh: Mesh) -> str | None:
    """What the compiler has against options, tried on as good as nothing."""
    number = jax.ShapeDtypeStruct((), jnp.float32, sharding=meshes.replicated(mesh))
    try:
        jax.jit(lambda x: x + 1, compiler_options=dict(options)).lower(number).compile()
    except jax.errors.JaxRuntimeError as error:
        return " ".join(str(error).split())[:200]
    return None


class CautiousStep:
    """A step with compiler options, or without if its first call fails.

    Steps donate their state, so that one that fails leaves none: the first is given a copy. All
    processes have the same devices and programs, so that it fails for all of them or for none.

    Args:
        make: the jitted step with options.
        options: that the compiler takes, and that may still fail where the program runs.
    """

    def __init__(self, make: Callable[[dict[str, str]], Any], options: Mapping[str, str]):
        self._make, self._options = make, dict(options)
        self._step = make(self._options)
        self._has_run = False

    def __call__(self, state: Any, batch: Any) -> Any:
        if not self._has_run:
            self._has_run = True
            copy = jax.tree.map(jnp.copy, state)
            try:
                return jax.block_until_ready(self._step(copy, batch))
            except jax.errors.JaxRuntimeError as error:
                _LOGGER.warning(
                    "The step is compiled without train.compiler_options %s, with which it failed "
                    "(%s)",
                    ", ".join(f"{name}={value}" for name, value in self._options.items()),
                    " ".join(str(error).split())[:200],
                )
                self._step = self._make({})
        return self._step(state, batch)

    def lower(self, *arguments: Any) -> jax.stages.Lowered:
        """As that of a jitted function, for the form that is in use."""
        return self._step.lower(*arguments)
