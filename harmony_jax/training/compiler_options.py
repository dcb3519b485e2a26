"""Compiler options of the training step (`train.compiler_options`).

A GPU is handed a step as command buffers, which are kernels captured once and launched together.
XLA leaves convolutions out by default, since not all can be captured, and each cuts the sequence
apart: 200 and more launches a step. So here they are captured, and a step that cannot be is
compiled without (`CautiousStep`).
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

_COMMAND_BUFFERS = "xla_gpu_enable_command_buffer"
# XLA's default and CONVOLUTION; jaxlib 0.10 and 0.11 know all of them.
_CAPTURED = (
    *("FUSION", "CUBLAS", "CUBLASLT", "CUSTOM_CALL", "CUDNN", "DYNAMIC_SLICE_FUSION"),
    *("CONDITIONAL", "CONVOLUTION"),
)

_BY_PLATFORM = {"gpu": (f"{_COMMAND_BUFFERS}={','.join(_CAPTURED)}",)}


def compiler_options(texts: Sequence[str] | None, mesh: Mesh) -> dict[str, str]:
    """The options that the mesh's compiler takes; what it refuses is logged, a line each.

    Args:
        texts: each NAME=VALUE; None for those that suit the mesh's platform.
        mesh: of any platform, also of devices that are not there.

    Raises:
        InputError: a text is not of this form.
    """
    if texts is None:
        texts = _BY_PLATFORM.get(mesh.devices.flat[0].platform, ())
    taken = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise InputError(
                f"train.compiler_options {text!r}: expected NAME=VALUE, as in "
                f"{_COMMAND_BUFFERS}=FUSION,CUBLAS"
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
