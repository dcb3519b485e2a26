import json

import jax
import pytest

from configs import base, model, ready
from harmony_jax import InputError
from harmony_jax.devices.mesh import mesh_of
from harmony_jax.planning import plan as planning
from harmony_jax.planning.chips import CHIPS
from harmony_jax.planning.collectives import Collective
from harmony_jax.planning.hlo import bytes_moved, operations
from harmony_jax.planning.plan import (
    Memory,
    Plan,
    find_largest_batch,
    lower_train_step,
    plan_training,
    resident_bytes_a_sample,
    training_samples,
)
from harmony_jax.planning.report import batches_text, plan_json, plan_text
from harmony_jax.planning.targets import Target, find_target
from tests.commands import failure
from tests.made_data import tiny_config
from tests.planning.compilers import needs_cuda_plugin, needs_libtpu


def made_plan(**changes) -> Plan:
    fields = {
        "target": Target("v5e:4x4", CHIPS["v5e"], [None] * 16, "tpu", 16),
        "dtype": "bfloat16",
        "batch_size": 512,
        "epochs": 180,
        "samples": 65742,
        "memory": Memory(2**30, 2**30, 2**20, 0),
        "flops": 197e12,  # one second
        "bytes_moved": 2 * 819_000_000_000,  # two seconds
        "collectives": [Collective("all-reduce", "f32", 16, 1, 1, 10**10)],
    }
    return Plan(**(fields | changes))


def made_gpu_plan(**changes) -> Plan:
    """16 hosts with 8 GPUs."""
    fields = {
        "target": Target("h200:16x8", CHIPS["h200"], [None] * 128, "cuda", 8),
        "batch_size": 128 * 64,
        "collectives": [Collective("all-reduce", "bf16", 128, 16, 3, 2 * 10**8)],
        "kernels": {"convolutions": 498, "other": 659},
    }
    return made_plan(**(fields | changes))


def test_the_busiest_resource_bounds_the_step():
    plan = made_plan()
    assert plan.seconds["compute"] == pytest.approx(1)
    assert plan.seconds["memory"] == pytest.approx(2)
    # A ring all-reduce: 15/16 of the bytes reduced, then 15/16 of them handed on.
    assert plan.seconds["interconnect"] == pytest.approx(2 * 15 / 16 * 1e10 / 200e9)
    assert plan.bound == "memory"
    assert plan.images_per_second == pytest.approx(256)
    assert plan.hours == pytest.approx(180 * 65742 / 256 / 3600)
    plan = made_plan(collectives=[Collective("all-gather", "f32", 16, 1, 1, 10**13)])
    assert plan.bound == "interconnect"
    assert plan.images_per_second == pytest.approx(512 / (15 / 16 * 1e13 / 200e9))


def test_gpus_send_over_two_links():
    plan = made_gpu_plan()
    assert plan.bytes_sent == {
        "NVLink": pytest.approx(2 * 2e8 * 7 / 8),
        "network": pytest.approx(2 * 2e8 / 8 * 15 / 16),
    }
    assert plan.seconds["NVLink"] == pytest.approx(plan.bytes_sent["NVLink"] / 450e9)
    assert plan.seconds["network"] == pytest.approx(plan.bytes_sent["network"] / 50e9)
    one_host = Target("h200:8", CHIPS["h200"], [None] * 8, "cuda", 8)
    assert list(made_gpu_plan(target=one_host, batch_size=512).bytes_sent) == ["NVLink"]
    # float32 is TF32 by default, at half the rate; on a TPU it is bfloat16.
    assert made_gpu_plan(dtype="float32").seconds["compute"] == pytest.approx(
        2 * plan.seconds["compute"], rel=1e-3
    )
    assert made_plan(dtype="float32").seconds == made_plan().seconds


@pytest.mark.parametrize(
    ("plan", "lines"),
    [
        (
            made_plan(),
            [
                "target        v5e:4x4: 16 chips",
                "batch         512 images, 32 a chip",
                "memory        2.00 GiB a chip of 15.75",
                "sent          a step and chip: 18750.00 MB over interconnect",
                "1 all-reduce of 10000.000 MB f32 in all, among 16 chips",
                "bound by      memory",
                "at most       256 images/s",
                "at least      12.8 h for 180 epochs of 65,742 samples",
                "not a measurement",
            ],
        ),
        (
            made_gpu_plan(samples=None),
            [
                "target        h200:16x8: 128 GPUs",
                "batch         8192 images, 64 a GPU",
                "kernels       1,157 a step: 498 convolutions, 659 other",
                "sent          a step and GPU: 350.00 MB over NVLink, 46.88 MB over network",
                "3 all-reduce of 200.000 MB bf16 in all, among 128 GPUs over 16 hosts",
                "h for each 1,000 samples of the data, in 180 epochs",
            ],
        ),
    ],
    ids=["TPUs", "GPUs"],
)
def test_the_report_says_what_it_is(plan, lines):
    text = plan_text(plan)
    for line in lines:
        assert line in text
    assert ("kernels" in text) == (plan.kernels is not None)
    found = json.loads(json.dumps(plan_json(plan)))
    assert (found["topology"], found["chips"]) == (plan.target.name, plan.chips)
    assert found["images_per_second"] == plan.images_per_second
    assert found["kernels"] == plan.kernels


def test_an_epoch_is_what_the_config_says():
    data = base.get_config().data
    assert training_samples(data) == 65742
    data.subsets = ("HFlickr", "Hday2night")
    assert training_samples(data) == 7449 + 311
    data.subsets = ("HFlick",)
    with pytest.raises(InputError, match=r"data\.subsets 'HFlick'"):
        training_samples(data)
    data = ready.get_config().data
    assert training_samples(data) is None
    assert resident_bytes_a_sample(data) == 4 * 336**2


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 37, 64, 100, 200])
def test_the_search_ends_within_an_eighth_of_the_limit(monkeypatch, limit):
    """With a compiler in which up to `limit` images fit on each chip."""
    tried = []

    def compiled(config, target, samples):
        chip_batch = config.train.batch_size // 16
        tried.append(chip_batch)
        return made_plan(batch_size=config.train.batch_size) if chip_batch <= limit else None

    monkeypatch.setattr(planning, "plan_training", compiled)
    config = base.get_config()
    config.train.batch_size = 32 * 16
    plans = find_largest_batch(config, made_plan().target)
    fitting = [plan.chip_batch for plan in plans]
    assert len(tried) == len(set(tried))
    assert fitting == sorted(size for size in tried if size <= limit)
    if limit:
        assert limit - max(1, limit // 8) <= fitting[-1] <= limit
        assert fitting[-1] == limit or limit > 8
        assert f"largest batch that fits: {16 * fitting[-1]}" in batches_text(plans)
    assert config.train.batch_size == 32 * 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--topology=v9:1x1"], "topology v9:1x1"),
        ([], "--topology is missing"),
        (["--topology=v5e:2x2", "--config.train.batch=3"], "unknown config field"),
    ],
)
def test_the_command_ends_in_one_line(arguments, message):
    line = failure("scripts/plan.py", "--config=configs/improved_dih256.py", *arguments)
    assert line.startswith(f"error: {message}")


def test_batches_of_more_values_than_int32_holds():
    config = tiny_config()
    config.data.image_size = 256
    config.train.batch_size = 2**16
    lowered = lower_train_step(config, mesh_of(jax.devices()))
    assert lowered.in_avals[0][1]["mask"].shape == (2**16, 256, 256)


@pytest.fixture
def quick():
    """The compiler's least effort: seconds instead of half a minute."""
    before = jax.config.jax_exec_time_optimization_effort
    jax.config.update("jax_exec_time_optimization_effort", -1.0)
    yield
    jax.config.update("jax_exec_time_optimization_effort", before)


@needs_libtpu
def test_a_compiled_step_of_idih(quick):
    config = model.get_config("improved_dih256")
    config.model.dtype = "bfloat16"
    config.train.batch_size = 32 * 4
    plan = plan_training(config, find_target("v5e:2x2"))
    assert plan.chip_batch == 32
    # Forward 3.3 GFLOP an image; the backward pass has two such products for each of its own.
    assert plan.flops / plan.chip_batch == pytest.approx(3 * 3.3e9, rel=0.05)
    # Parameters and Adam's two moments in float32, and a batch of 7 bytes a pixel.
    assert plan.memory.state == pytest.approx(3 * 4 * 8.30e6 + 32 * 256**2 * 7, rel=0.2)
    assert sum(plan.memory) < plan.chip.memory
    # Kernels' gradients are sent in bfloat16.
    sent = sum(collective.bytes for collective in plan.collectives)
    assert sent == pytest.approx(2 * 8.30e6, rel=0.02)
    assert plan.bound == "memory"


@needs_libtpu
def test_bytes_moved_are_those_that_xla_counts(quick):
    """With the least effort nothing stays in on-chip memory, which XLA's count includes."""
    mesh = mesh_of(find_target("v5e:1x1").devices)
    compiled = lower_train_step(tiny_config(), mesh).compile()
    counted = compiled.cost_analysis()["bytes accessed"]
    assert bytes_moved(operations(compiled.as_text())) == pytest.approx(counted, rel=0.05)


@needs_libtpu
def test_a_batch_that_does_not_fit(quick):
    config = tiny_config()
    config.data.image_size = 512
    config.train.batch_size = 2**12
    assert plan_training(config, find_target("v5e:1x1")) is None


@needs_libtpu
@pytest.mark.parametrize(
    ("section", "field", "value"),
    [("train", "batch_size", 3), ("mesh", "shards", 3), ("mesh", "devices", 2)],
)
def test_fields_that_the_slice_cannot_have(section, field, value):
    config = tiny_config()
    config[section][field] = value
    with pytest.raises(InputError, match=rf"{section}\.{field} {value}: .*4"):
        plan_training(config, find_target("v5e:2x2"))


@needs_cuda_plugin
def test_a_compiled_step_for_gpus():
    """On two hosts with two GPUs, the state divided within each host."""
    config = tiny_config()
    config.mesh.shards = 2
    config.train.batch_size = 16
    plan = plan_training(config, find_target("h200:2x2"))
    assert sum(plan.memory) < plan.chip.memory
    # XLA counts elementwise operations, too: a seventh in so small a model.
    config.train.batch_size, config.mesh.shards = plan.chip_batch, 1
    traced = lower_train_step(config, mesh_of(jax.devices()[:1]))
    assert 0.8 < plan.flops / traced.cost_analysis()["flops"] < 1
    assert plan.kernels["convolutions"] == 23
    gradients, gathered = plan.collectives[:2]
    assert (gradients.kind, gradients.devices, gradients.hosts) == ("all-reduce", 4, 2)
    assert (gathered.kind, gathered.devices, gathered.hosts) == ("all-gather", 2, 1)
    assert plan.bytes_sent["network"] < plan.bytes_sent["NVLink"]
