"""A plan for a TPU slice, as a person reads it and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from harmony_jax.data.iharmony4 import COMPOSITES
from harmony_jax.planning.plan import Plan

_GIB = 2**30


def plan_text(plan: Plan) -> str:
    """The whole plan in lines, its estimates last."""
    memory = plan.memory
    batch = plan.chip_batch
    samples = f", samples {memory.samples / _GIB:.2f}" if memory.samples else ""
    lines = [
        f"slice         {plan.topology}, {plan.chips} chips",
        f"batch         {plan.batch_size} images, {batch} a chip",
        f"memory        {sum(memory) / _GIB:.2f} GiB a chip of {plan.chip.memory / _GIB:.2f}: "
        f"state {memory.state / _GIB:.2f}, temporaries {memory.temporaries / _GIB:.2f}, "
        f"program {memory.program / _GIB:.2f}{samples}",
        f"arithmetic    {plan.flops / 1e12:.3f} TFLOP a step and chip, "
        f"{plan.flops / batch / 1e9:.1f} GFLOP an image",
        f"bytes moved   {plan.bytes_moved / 1e9:.2f} GB a step and chip between HBM and the cores, "
        f"{plan.bytes_moved / batch / 1e6:.0f} MB an image "
        f"({plan.bytes_accessed / 1e9:.2f} GB as XLA counts, on-chip memory included)",
        f"sent          {plan.bytes_sent / 1e6:.2f} MB a step and chip:",
    ]
    lines += [
        f"              {c.operations} {c.kind} of {c.bytes / 1e6:.3f} MB {c.dtype}: {c.purpose}"
        for c in plan.collectives
    ]
    more = {purpose: values for purpose, values in plan.surplus.items() if values}
    words = ", ".join(f"{purpose} {values:+,}" for purpose, values in more.items())
    lines += [
        f"              values beyond gradients and statistics once: {words or 'none'}",
        "at its peak   " + ", ".join(f"{k} {v * 1e3:.2f} ms" for k, v in plan.seconds.items()),
        f"bound by      {plan.bound}",
        f"at most       {plan.images_per_second:,.0f} images/s",
        f"at least      {plan.hours:.3g} h for {plan.epochs} epochs of {COMPOSITES:,} composites",
        "These are limits (each part at its published peak, nothing waits), not a measurement.",
    ]
    return "\n".join(lines)


def batches_text(plans: Sequence[Plan]) -> str:
    """One line for each batch that fits, in the order of their sizes."""
    lines = ["batch  a chip  GiB a chip  MB moved an image  images/s at most"]
    lines += [
        f"{plan.batch_size:>5}  {plan.chip_batch:>6}  {sum(plan.memory) / _GIB:>10.2f}  "
        f"{plan.bytes_moved / plan.chip_batch / 1e6:>17.0f}  {plan.images_per_second:>16,.0f}"
        for plan in plans
    ]
    return "\n".join([*lines, f"largest batch that fits: {plans[-1].batch_size}"])


def plan_json(plan: Plan) -> dict[str, Any]:
    """The plan's fields and estimates, in bytes, FLOP, seconds and hours."""
    return {
        **asdict(plan),
        "chip": plan.chip._asdict(),
        "memory": plan.memory._asdict(),
        "collectives": [collective._asdict() for collective in plan.collectives],
        "bytes_sent": plan.bytes_sent,
        "seconds": plan.seconds,
        "bound": plan.bound,
        "images_per_second": plan.images_per_second,
        "hours": plan.hours,
    }
