"""A function that threads share and that is compiled once for each shape of its arguments."""

import threading
from collections.abc import Callable
from typing import Any

import jax


class CompiledOnce:
    """Compiles a function once for each shape of its arguments, however many threads call it."""

    def __init__(self, function: Callable):
        self._jitted = jax.jit(function)
        self._lock = threading.Lock()
        self._programs: dict[tuple, Callable] = {}

    def __call__(self, *arguments: Any) -> Any:
        key = tuple((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(arguments))
        with self._lock:
            if key not in self._programs:
                self._programs[key] = self._jitted.lower(*arguments).compile()
            program = self._programs[key]
        return program(*arguments)
