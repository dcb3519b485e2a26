"""Compiler options of the training step: those of its platform, and `train.compiler_options`.

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

TUNED_FUSIONS = "xla_gpu_experimental_enable_fusion_autotuner"
# By platform; `train.compiler_options` have the last word. docs/performance.md, "On a GPU", says
# what they do.
_DEFAULTS = {
    "gpu": {
        # XLA's own, and convolutions: without these they cut a step into hundreds of launches.
        "xla_gpu_enable_command_buffer": "FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,"
        "DYNAMIC_SLICE_FUSION,CONDITIONAL,CONVOLUTION",
        # It compiles every kernel once more, before they are compiled.
        TUNED_FUSIONS: "False",
    }
}
# A ValueError from calls that JAX dispatches without Python, which are those after the first.
_FAILURES = (jax.errors.JaxRuntimeError, ValueError)
_GUARDED_STEPS = 3  # the first captures; by the third, the state has been in both of its places

_LOGGER = logging.getLogger(__name__)


def compiler_options(texts: Sequence[str], mesh: Mesh) -> dict[str, str]:
    """The options that the mesh's compiler takes; what it refuses is logged, a line each.

    Args:
        texts: each NAME=VALUE, in place of the platform's of that name.
        mesh: of any platform, also of devices that are not there.

    Raises:
        InputError: a text is not of this form.
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
    for name, value in (_DEFAULTS.get(mesh.devices.flat[0].platform, {}) | asked).items():
        if refusal := _refusal({name: value}, mesh):
            level = logging.WARNING if name in asked else logging.INFO
            _LOGGER.log(level, "Compiler option %s=%s is left out: %s", name, value, refusal)
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
    """A step with compiler options, or without if one of its first calls fails.

    Steps donate their state, so that one that fails leaves none: the first are given a copy. All
    processes have the same devices and programs, so that it fails for all of them or for none.

    Args:
        make: the jitted step with options.
        options: that the compiler takes, and that may still fail where the program runs.
    """

    def __init__(self, make: Callable[[dict[str, str]], Any], options: Mapping[str, str]):
        self._make, self._options = make, dict(options)
        self._step = make(self._options)
        self._guarded = _GUARDED_STEPS

    def __call__(self, state: Any, batch: Any) -> Any:
        if self._guarded:
            self._guarded -= 1
            copy = jax.tree.map(jnp.copy, state)
            try:
                return jax.block_until_ready(self._step(copy, batch))
            except _FAILURES as error:
                _LOGGER.warning(
                    "The step is compiled without the compiler options %s, with which it failed "
                    "(%s)",
                    ", ".join(f"{name}={value}" for name, value in self._options.items()),
                    " ".join(str(error).split())[:200],
                )
                self._step = self._make({})
                self._guarded = 0
        return self._step(state, batch)

    def lower(self, *arguments: Any) -> jax.stages.Lowered:
        """As that of a jitted function, for the form that is in use."""
        return self._step.lower(*arguments)
