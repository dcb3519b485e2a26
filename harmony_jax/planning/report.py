"""A plan, as a person reads it and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from harmony_jax.planning.plan import Launches, Plan
from harmony_jax.planning.step_traffic import Collective

_GIB = 2**30


def plan_text(plan: Plan) -> str:
    """The whole plan in lines, its estimates last."""
    memory = plan.memory
    batch = plan.chip_batch
    unit = "chip" if plan.launches is None else "GPU"
    samples = f", samples {memory.samples / _GIB:.2f}" if memory.samples else ""
    counted = (
        ""
        if plan.bytes_accessed is None
        else f" ({plan.bytes_accessed / 1e9:.2f} GB as XLA counts, on-chip memory included)"
    )
    sent = ", ".join(
        f"{sent_bytes / 1e6:.2f} MB over {link}" for link, sent_bytes in plan.bytes_sent.items()
    )
    lines = [
        _target_line(plan),
        f"batch         {plan.batch_size} images, {batch} a {unit}",
        f"memory        {sum(memory) / _GIB:.2f} GiB a {unit} of {plan.chip.memory / _GIB:.2f}: "
        f"state {memory.state / _GIB:.2f}, temporaries {memory.temporaries / _GIB:.2f}, "
        f"program {memory.program / _GIB:.2f}{samples}",
        f"arithmetic    {plan.flops / 1e12:.3f} TFLOP a step and {unit}, "
        f"{plan.flops / batch / 1e9:.1f} GFLOP an image",
        f"bytes moved   {plan.bytes_moved / 1e9:.2f} GB a step and {unit} between HBM and the "
        f"cores, {plan.bytes_moved / batch / 1e6:.0f} MB an image{counted}",
    ]
    if plan.launches is not None:
        lines += _launch_lines(plan.launches)
    if plan.chips > 1:
        more = {purpose: values for purpose, values in plan.surplus.items() if values}
        words = ", ".join(f"{purpose} {values:+,}" for purpose, values in more.items())
        lines += [
            f"sent          a step and {unit}: {sent}",
            *(f"              {_collective_text(c, unit)}" for c in plan.collectives),
            f"              values beyond gradients and statistics once: {words or 'none'}",
        ]
    lines += [
        "at its peak   " + ", ".join(f"{k} {v * 1e3:.2f} ms" for k, v in plan.seconds.items()),
        f"bound by      {plan.bound}",
        f"at most       {plan.images_per_second:,.0f} images/s",
        _hours_line(plan),
        "These are limits (each part at its published peak, nothing waits), not a measurement.",
    ]
    if plan.launches is not None:
        lines.append(
            "Left out: gaps between launches, kernels that cuDNN adds, what autotuning chooses."
        )
    return "\n".join(lines)


def _target_line(plan: Plan) -> str:
    target = plan.target
    if plan.launches is None:
        return f"slice         {target.name}, {plan.chips} chips"
    hosts = plan.chips // target.chips_a_host
    return f"GPUs          {target.name}, {hosts} host(s) with {target.chips_a_host} GPU(s)"


def _launch_lines(launches: Launches) -> list[str]:
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in launches.kernels.items())
    graphs = launches.graphs
    return [
        f"kernels       {sum(launches.kernels.values()):,} a step: {kinds}; "
        f"{launches.odd_convolutions} convolutions with channels that are no multiple of 8",
        "launches      "
        + (
            f"{graphs.launches:,} a step: {graphs.graphs:,} CUDA graphs that hold "
            f"{graphs.captured:,} kernels and copies, {graphs.alone:,} alone"
            if graphs
            else "not said by this version of the compiler"
        ),
    ]


def _collective_text(collective: Collective, unit: str) -> str:
    kind, purpose, dtype, operations, _, sent_bytes, devices, hosts = collective
    place = f" over {hosts} hosts" if hosts > 1 else ""
    return (
        f"{operations} {kind} of {sent_bytes / 1e6:.3f} MB {dtype} among {devices} {unit}s{place}: "
        f"{purpose}"
    )


def _hours_line(plan: Plan) -> str:
    if plan.hours is not None:
        return (
            f"at least      {plan.hours:.3g} h for {plan.epochs} epochs of {plan.samples:,} samples"
        )
    hours = plan.epochs * 1000 / plan.images_per_second / 3600
    return (
        f"at least      {hours:.3g} h for each 1,000 samples of the data, in {plan.epochs} epochs "
        "(--samples says how many there are)"
    )


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
    fields = asdict(replace(plan, target=plan.target._replace(devices=[])))
    del fields["target"]
    return {
        "topology": plan.target.name,
        "chips": plan.chips,
        **fields,
        "chip": plan.chip._asdict(),
        "memory": plan.memory._asdict(),
        "launches": _launches_json(plan.launches),
        "collectives": [collective._asdict() for collective in plan.collectives],
        "bytes_sent": plan.bytes_sent,
        "seconds": plan.seconds,
        "bound": plan.bound,
        "images_per_second": plan.images_per_second,
        "hours": plan.hours,
    }


def _launches_json(launches: Launches | None) -> dict[str, Any] | None:
    if launches is None:
        return None
    graphs = launches.graphs
    return {**launches._asdict(), "graphs": graphs._asdict() if graphs else None}
