"""How tests compile: quickly, as most of their programs run once or twice.

`.ci/run` runs the tests a second time as users compile.
"""

import mmap
from importlib.util import find_spec
from pathlib import Path

# LLVM optimizes programs that run once or twice for half of the time of compiling a training step.
# What XLA makes of them is the same.
OPTIMIZATION = "xla_backend_optimization_level"
_FUSION_EMITTERS = "xla_cpu_use_fusion_emitters"


def _is_known(flag: str) -> bool:
    """Whether jaxlib has a flag of XLA's: with one that it has not, it ends the process."""
    spec = find_spec("jaxlib")
    assert spec is not None
    for path in Path(str(spec.origin)).parent.glob("*.so"):
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as code:
            if code.find(flag.encode()) >= 0:
                return True
    return False


_CAN_CHOOSE = _is_known(_FUSION_EMITTERS)
# The training step of a small HRNet compiles in a third of the time with fused loops that an older
# part of XLA writes.
QUICKLY = [f"--{OPTIMIZATION}=1", *([f"--{_FUSION_EMITTERS}=false"] if _CAN_CHOOSE else [])]
# Compiler options of a program with fused loops as users have them, on a CPU. Large models compile
# and run quicker so, and training amplifies that the others round otherwise.
FUSED = {_FUSION_EMITTERS: True} if _CAN_CHOOSE else {}
