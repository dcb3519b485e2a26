"""Plans a training on TPUs or GPUs from a machine without any; docs/planning.md says more.

    python scripts/plan.py --config=configs/hrnet18s_idih256.py --topology=v5e:4x4 \\
        [--config.train.batch_size=2048] [--config.model.dtype=bfloat16] \\
        [--samples=9000] [--find_batch] [--quick] [--json]
    python scripts/plan.py --config=configs/hrnet18s_idih256.py --topology=h200:16x8

Compiles the config's training step for a slice of TPUs (pip install 'harmony_jax[tpu]') or for
hosts with GPUs (JAX's CUDA plugin) and prints its memory, FLOPs, bytes, kernels and collectives,
and what they allow: images/s at most, hours at least.
"""

import json
import sys
from pathlib import Path

import jax
from absl import app, flags
from ml_collections import config_flags

from harmony_jax.command_line import errors_in_one_line, log_to_terminal, parse_flags
from harmony_jax.errors import InputError
from harmony_jax.planning.plan import find_largest_batch, plan_training
from harmony_jax.planning.report import batches_text, plan_json, plan_text
from harmony_jax.planning.targets import find_target

_CONFIG = config_flags.DEFINE_config_file("config", None, "Config file; its fields are flags too.")
_TOPOLOGY = flags.DEFINE_string(
    "topology", None, "TPU slice (v5e:4x4), or GPUs of one host or several (h200:8, h200:16x8)."
)
_SAMPLES = flags.DEFINE_integer(
    "samples", None, "Of an epoch; by default those of iHarmony4's lists.", lower_bound=1
)
_FIND_BATCH = flags.DEFINE_bool(
    "find_batch", False, "Find the largest batch that fits, beginning with train.batch_size."
)
_QUICK = flags.DEFINE_bool(
    "quick", False, "Compile with the least optimisation, several times faster; less exact."
)
_JSON = flags.DEFINE_bool("json", False, "Print JSON: a plan, or with --find_batch a list.")


@errors_in_one_line()
def main(arguments: list[str]) -> None:
    """Prints one plan or those of a search; a mistake ends in one line and exit status 1."""
    log_to_terminal()
    jax.config.update("jax_platforms", "cpu")  # nothing runs, so no accelerator is taken
    if _QUICK.value:
        jax.config.update("jax_exec_time_optimization_effort", -1.0)
    if len(arguments) > 1:
        raise InputError(f"argument {arguments[1]!r}: flags begin with --")
    config, topology = _CONFIG.value, _TOPOLOGY.value
    if config is None or topology is None:
        raise InputError(f"--{'config' if config is None else 'topology'} is missing")
    target = find_target(topology)
    if _FIND_BATCH.value:
        plans = find_largest_batch(config, target, _SAMPLES.value)
    else:
        plan = plan_training(config, target, _SAMPLES.value)
        plans = [plan] if plan else []
    if not plans:
        raise InputError(
            f"train.batch_size {config.train.batch_size}: does not fit into the memory of "
            f"{target.name}: choose less, or a larger train.accumulate, or train.recompute"
        )
    if _JSON.value:
        found = [plan_json(plan) for plan in plans]
        print(json.dumps(found if _FIND_BATCH.value else found[0], indent=2))
        return
    best = max(plans, key=lambda plan: plan.images_per_second)
    print(plan_text(best))
    if _FIND_BATCH.value:
        print(f"\nThat is the fastest of these:\n{batches_text(plans)}")


def _parse_flags(arguments: list[str]) -> list[str]:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where configs find each other
    return parse_flags(arguments, _CONFIG)


if __name__ == "__main__":
    app.run(main, flags_parser=_parse_flags)
