"""A plan, as a person reads it and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from harmony_jax.evaluation.tables import TextTable, as_text
from harmony_jax.planning.plan import Plan

_GIB = 2**30


def plan_text(plan: Plan) -> str:
    """The whole plan in lines, its estimates last."""
    memory, batch, kernels = plan.memory, plan.chip_batch, plan.kernels
    unit = "chip" if kernels is None else "GPU"
    parts = {name: size / _GIB for name, size in memory._asdict().items() if size}
    lines = [
        f"target        {plan.target.name}: {plan.chips} {unit}s",
        f"batch         {plan.batch_size} images, {batch} a {unit}",
        f"memory        {sum(memory) / _GIB:.2f} GiB a {unit} of {plan.chip.memory / _GIB:.2f}: "
        + ", ".join(f"{name} {size:.2f}" for name, size in parts.items()),
        f"arithmetic    {plan.flops / 1e12:.3f} TFLOP a step and {unit}, "
        f"{plan.flops / batch / 1e9:.1f} GFLOP an image",
        f"bytes moved   {plan.bytes_moved / 1e9:.2f} GB a step and {unit} between HBM and the "
        f"cores, {plan.bytes_moved / batch / 1e6:.0f} MB an image",
    ]
    if kernels is not None:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in kernels.items())
        lines.append(f"kernels       {sum(kernels.values()):,} a step: {kinds}")
    if plan.chips > 1:
        sent = (f"{size / 1e6:.2f} MB over {link}" for link, size in plan.bytes_sent.items())
        lines.append(f"sent          a step and {unit}: {', '.join(sent)}")
        for kind, dtype, devices, hosts, operations, size in plan.collectives:
            place = f" over {hosts} hosts" if hosts > 1 else ""
            lines.append(
                f"              {operations} {kind} of {size / 1e6:.3f} MB {dtype} in all, among "
                f"{devices} {unit}s{place}"
            )
    if plan.hours is None:
        thousand = plan.epochs * 1000 / plan.images_per_second / 3600
        hours = f"{thousand:.3g} h for each 1,000 samples of the data, in {plan.epochs} epochs"
    else:
        hours = f"{plan.hours:.3g} h for {plan.epochs} epochs of {plan.samples:,} samples"
    lines += [
        "at its peak   " + ", ".join(f"{k} {v * 1e3:.2f} ms" for k, v in plan.seconds.items()),
        f"bound by      {plan.bound}",
        f"at most       {plan.images_per_second:,.0f} images/s",
        f"at least      {hours}",
        "These are limits (each part at its published peak, nothing waits), not a measurement.",
    ]
    return "\n".join(lines)


def batches_text(plans: Sequence[Plan]) -> str:
    """One line for each batch that fits, in the order of their sizes."""
    rows = [
        [
            str(plan.batch_size),
            str(plan.chip_batch),
            f"{sum(plan.memory) / _GIB:.2f}",
            f"{plan.bytes_moved / plan.chip_batch / 1e6:.0f}",
            f"{plan.images_per_second:,.0f}",
        ]
        for plan in plans
    ]
    header = ["batch", "a chip", "GiB a chip", "MB moved an image", "images/s at most"]
    largest = f"largest batch that fits: {plans[-1].batch_size}"
    return f"{as_text(TextTable('', header, rows))}\n{largest}"


def plan_json(plan: Plan) -> dict[str, Any]:
    """The plan's fields and estimates, in bytes, FLOP, seconds and hours."""
    fields = asdict(replace(plan, target=plan.target._replace(devices=[])))
    del fields["target"]
    return {
        "topology": plan.target.name,
        "chips": plan.chips,
        **fields,
        "chip": plan.chip._asdict(),
        "memory": plan.memory._asdict(),
        "collectives": [collective._asdict() for collective in plan.collectives],
        "bytes_sent": plan.bytes_sent,
        "seconds": plan.seconds,
        "bound": plan.bound,
        "images_per_second": plan.images_per_second,
        "hours": plan.hours,
    }
