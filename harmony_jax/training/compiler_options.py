"""Compiler options of the training step: those of its platform, and `train.compiler_options`.

An option that the compiler refuses is left out. A step that fails when it runs is compiled again
without options (`CautiousStep`). So an option of another version or machine costs only a line in
the log.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from harmony_jax.devices import mesh as meshes
from harmony_jax.errors import InputError

TUNED_FUSIONS = "xla_gpu_experimental_enable_fusion_autotuner"
# By platform; `train.compiler_options` override them. docs/performance.md, "On a GPU", says what
# they do.
_DEFAULTS = {
    "gpu": {
        # XLA's own and CONVOLUTION, without which a step is cut into hundreds of launches.
        "xla_gpu_enable_command_buffer": "FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,"
        "DYNAMIC_SLICE_FUSION,CONDITIONAL,CONVOLUTION",
        # Tuning compiles every kernel once more.
        TUNED_FUSIONS: "False",
    }
}
# Calls after the first, which JAX dispatches without Python, raise ValueError.
_FAILURES = (jax.errors.JaxRuntimeError, ValueError)
_GUARDED_STEPS = 3  # the first captures; by the third, the state has been in both of its places

_LOGGER = logging.getLogger(__name__)


def compiler_options(texts: Sequence[str], mesh: Mesh) -> dict[str, str]:
    """The options that the mesh's compiler takes; each one that it refuses is logged.

    Args:
        texts: each NAME=VALUE; overrides the platform's option of that name.
        mesh: of any platform; its devices may be those of a topology.
    """
    asked = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise InputError(
                f"train.compiler_options {text!r}: expected NAME=VALUE, as in "
                "xla_gpu_enable_command_buffer=FUSION,CUBLAS"
            )
        asked[name] = value
    taken = {}
    number = jax.ShapeDtypeStruct((), jnp.float32, sharding=meshes.replicated(mesh))
    for name, value in (_DEFAULTS.get(mesh.devices.flat[0].platform, {}) | asked).items():
        trivial = jax.jit(lambda x: x + 1, compiler_options={name: value})
        try:
            trivial.lower(number).compile()
            taken[name] = value
        except jax.errors.JaxRuntimeError as error:
            level = logging.WARNING if name in asked else logging.INFO
            text = _one_line(error)
            _LOGGER.log(level, "Compiler option %s=%s is left out: %s", name, value, text)
    return taken


class CautiousStep:
    """A step with compiler options, or without them if one of its first calls fails.

    Steps donate their state, so a step that fails would lose it: the first ones get a copy. All
    processes have the same devices and programs, so it fails for all of them or for none.

    Args:
        make: makes the jitted step with the given options.
        options: that the compiler takes, and that may still fail when the program runs.
    """

    def __init__(self, make: Callable[[Mapping[str, str]], Any], options: Mapping[str, str]):
        self._make, self._options = make, options
        self._step = make(options)
        self._guarded = _GUARDED_STEPS

    def __call__(self, state: Any, batch: Any) -> Any:
        if self._guarded:
            self._guarded -= 1
            try:
                copy = jax.tree.map(jnp.copy, state)
                return jax.block_until_ready(self._step(copy, batch))
            except _FAILURES as error:
                options = ", ".join(f"{name}={value}" for name, value in self._options.items())
                _LOGGER.warning(
                    "The step failed with the compiler options %s and is compiled without them: %s",
                    options,
                    _one_line(error),
                )
                self._step, self._guarded = self._make({}), 0
        return self._step(state, batch)

    def lower(self, *arguments: Any) -> jax.stages.Lowered:
        """As that of a jitted function, for the step that is in use."""
        return self._step.lower(*arguments)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
