"""Compiled programs kept on disk, so that a restarted run begins at once."""

import os
from pathlib import Path

import jax


def keep_compiled_programs() -> None:
    """Turns JAX's persistent compilation cache on, in ~/.cache/harmony_jax/compiled.

    `JAX_COMPILATION_CACHE_DIR` names another folder; `JAX_ENABLE_COMPILATION_CACHE=false` turns it
    off. Call it before anything is compiled.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "harmony_jax"
        jax.config.update("jax_compilation_cache_dir", str(folder / "compiled"))
    # Small programs too: a start compiles dozens of them.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
