"""How tests compile: quickly, as most of their programs run once or twice.

`.ci/run` runs the tests a second time as users compile.
"""

import os
import subprocess
import sys

# LLVM optimizes programs that run once or twice for half of the time of compiling a training step.
# What XLA makes of them is the same.
OPTIMIZATION = "xla_backend_optimization_level"
# The training step of a small HRNet compiles in a third of the time with fused loops that an older
# part of XLA writes, which jaxlib 0.12 has no more.
_FUSION_EMITTERS = "xla_cpu_use_fusion_emitters"
_OLDER_LOOPS = f"--{_FUSION_EMITTERS}=false"


def quick_flags() -> list[str]:
    """XLA's flags, of those that jaxlib knows: an unknown one ends the process."""
    tried = subprocess.run(
        [sys.executable, "-c", "import jax; jax.devices()"],
        env={**os.environ, "XLA_FLAGS": _OLDER_LOOPS, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        check=False,
    )
    return [f"--{OPTIMIZATION}=1", *([] if tried.returncode else [_OLDER_LOOPS])]


def fused() -> dict[str, bool]:
    """Compiler options of a program whose fused loops are those that users have.

    Large models compile and run quicker so, and training amplifies that the others round otherwise.
    """
    return {_FUSION_EMITTERS: True} if _OLDER_LOOPS in os.environ["XLA_FLAGS"] else {}


def fused_unoptimized() -> dict[str, bool | int]:
    """The same for programs that run once, which LLVM need not optimize."""
    is_quick = f"--{OPTIMIZATION}=1" in os.environ["XLA_FLAGS"]
    return {OPTIMIZATION: 0, **fused()} if is_quick else {}
