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


def of_large_models() -> dict[str, bool | int]:
    """Compiler options of large models, whose fused loops are those that users have.

    With these they compile quicker, and training amplifies that the older ones round otherwise.
    LLVM optimizes nothing: the time goes into convolutions, which it does not compile.
    """
    flags = os.environ["XLA_FLAGS"]
    quick = {OPTIMIZATION: 0} if f"--{OPTIMIZATION}=1" in flags else {}
    return quick | ({_FUSION_EMITTERS: True} if _OLDER_LOOPS in flags else {})
