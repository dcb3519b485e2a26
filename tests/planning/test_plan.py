import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from configs import base, improved_dih256
from harmony_jax import InputError
from harmony_jax.devices.mesh import mesh_of
from harmony_jax.planning import plan as planning
from harmony_jax.planning.chips import CHIPS, Slice, find_slice
from harmony_jax.planning.plan import (
    Memory,
    Plan,
    find_largest_batch,
    lower_train_step,
    plan_training,
)
from harmony_jax.planning.report import batches_text, plan_json, plan_text
from harmony_jax.planning.step_traffic import GRADIENTS, STATISTICS, Collective
from tests.made_data import tiny_config

SCRIPT = Path(__file__).parents[2] / "scripts" / "plan_tpu.py"

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="libtpu, the TPU compiler, is not installed: pip install 'harmony_jax[tpu]'",
)


def made_plan(**changes) -> Plan:
    fields = {
        "topology": "v5e:4x4",
        "chip": CHIPS["v5e"],
        "chips": 16,
        "batch_size": 512,
        "epochs": 180,
        "memory": Memory(2**30, 2**30, 2**20, 0),
        "flops": 197e12,  # one second
        "bytes_moved": 2 * 819_000_000_000,  # two seconds
        "bytes_accessed": 3e12,
        "collectives": [Collective("all-reduce", GRADIENTS, "f32", 1, 25 * 10**8, 10**10)],
        "surplus": {GRADIENTS: 0, STATISTICS: 0},
    }
    return Plan(**(fields | changes))


def test_the_busiest_resource_bounds_the_step():
    plan = made_plan()
    assert plan.seconds["compute"] == pytest.approx(1)
    assert plan.seconds["memory"] == pytest.approx(2)
    # A ring all-reduce: 15/16 of the bytes reduced, then 15/16 of them handed on.
    assert plan.seconds["interconnect"] == pytest.approx(2 * 15 / 16 * 1e10 / 200e9)
    assert plan.bound == "memory"
    assert plan.images_per_second == pytest.approx(256)
    assert plan.hours == pytest.approx(180 * 65742 / 256 / 3600)
    gathered = [Collective("all-gather", "parameters", "f32", 1, 1, 10**13)]
    plan = made_plan(collectives=gathered)
    assert plan.bound == "interconnect"
    assert plan.images_per_second == pytest.approx(512 / (15 / 16 * 1e13 / 200e9))


def test_the_report_says_what_it_is():
    text = plan_text(made_plan(surplus={GRADIENTS: 12_345, STATISTICS: 0}))
    for line in (
        "slice         v5e:4x4, 16 chips",
        "batch         512 images, 32 a chip",
        "memory        2.00 GiB a chip of 15.75",
        "1 all-reduce of 10000.000 MB f32: gradients",
        "values beyond gradients and statistics once: gradients +12,345",
        "bound by      memory",
        "at most       256 images/s",
        "not a measurement",
    ):
        assert line in text
    assert "largest batch that fits: 512" in batches_text([made_plan()])
    assert json.loads(json.dumps(plan_json(made_plan())))["images_per_second"] == 256


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 37, 64, 100, 200])
def test_the_search_ends_within_an_eighth_of_the_limit(monkeypatch, limit):
    """With a compiler in which up to `limit` images fit on each chip."""
    tried = []

    def compiled(config, tpu):
        chip_batch = config.train.batch_size // 16
        tried.append(chip_batch)
        return made_plan(batch_size=config.train.batch_size) if chip_batch <= limit else None

    monkeypatch.setattr(planning, "plan_training", compiled)
    config = base.get_config()
    config.train.batch_size = 32 * 16
    plans = find_largest_batch(config, Slice("v5e:4x4", CHIPS["v5e"], [None] * 16))
    fitting = [plan.chip_batch for plan in plans]
    assert len(tried) == len(set(tried))
    assert fitting == sorted(size for size in tried if size <= limit)
    if limit:
        assert limit - max(1, limit // 8) <= fitting[-1] <= limit
        assert fitting[-1] == limit or limit > 8
    assert config.train.batch_size == 32 * 16


@pytest.mark.parametrize(
    ("topology", "message"),
    [
        ("v5e", "choose v4, v5e, v5p, v6e and a shape"),
        ("v3:4x4", "choose v4, v5e, v5p, v6e and a shape"),
        ("v5e:4x4x4", "a slice of v5e has 2 dimensions"),
        ("v5p:4x4", "a slice of v5p has 3 dimensions"),
        ("v5e:16x32", "512 chips; choose 1 to 256"),
        ("v5e:0x4", "0 chips"),
    ],
)
def test_slices_that_cannot_be(topology, message):
    with pytest.raises(InputError, match=f"--topology={topology}: .*{message}"):
        find_slice(topology)


def test_without_libtpu_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'harmony_jax\[tpu\]'"):
        find_slice("v5e:4x4")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--topology=v9:1x1"], "error: --topology=v9:1x1: choose v4"),
        ([], "error: --topology is missing"),
        (["--topology=v5e:2x2", "--config.train.batch=3"], "error: unknown config field"),
    ],
)
def test_the_command_ends_in_one_line(arguments, message):
    config = SCRIPT.parents[1] / "configs" / "improved_dih256.py"
    command = [sys.executable, str(SCRIPT), f"--config={config}", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith(message)
    assert ended.stderr.count("\n") == 1


@pytest.fixture
def quick():
    """The compiler's least effort: seconds instead of half a minute."""
    before = jax.config.jax_exec_time_optimization_effort
    jax.config.update("jax_exec_time_optimization_effort", -1.0)
    yield
    jax.config.update("jax_exec_time_optimization_effort", before)


@needs_libtpu
@pytest.mark.parametrize(
    ("topology", "chips"),
    [("v4:2x2x2", 8), ("v5e:1x1", 1), ("v5e:16x16", 256), ("v5p:4x8x8", 256), ("v6e:2x4", 8)],
)
def test_each_chip_is_one_device(topology, chips):
    assert len(find_slice(topology).devices) == chips


@needs_libtpu
def test_a_slice_that_the_compiler_refuses():
    with pytest.raises(InputError, match=r"--topology=v5e:3x5: libtpu has no such slice \(.*3x5"):
        find_slice("v5e:3x5")


@needs_libtpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_compiled_step_of_idih(quick, dtype):
    config = improved_dih256.get_config()
    config.model.dtype = dtype
    config.train.batch_size = 32 * 4
    plan = plan_training(config, find_slice("v5e:2x2"))
    assert plan.chip_batch == 32
    # Forward 3.3 GFLOP an image; the backward pass has two such products for each of its own.
    assert plan.flops / plan.chip_batch == pytest.approx(3 * 3.3e9, rel=0.05)
    # Parameters and Adam's two moments in float32, and a batch of 7 bytes a pixel.
    assert plan.memory.state == pytest.approx(3 * 4 * 8.30e6 + 32 * 256**2 * 7, rel=0.2)
    assert sum(plan.memory) < plan.chip.memory
    # XLA's own count: with the least effort nothing stays in on-chip memory, which it includes.
    assert plan.bytes_moved == pytest.approx(plan.bytes_accessed, rel=0.05)
    assert all(0 <= values <= 4 for values in plan.surplus.values()), plan.collectives
    assert plan.bound == "memory"


@needs_libtpu
def test_a_batch_that_does_not_fit(quick):
    config = tiny_config()
    config.data.image_size = 512
    config.train.batch_size = 2**12
    assert plan_training(config, find_slice("v5e:1x1")) is None


@needs_libtpu
@pytest.mark.parametrize(
    ("section", "field", "value", "message"),
    [
        ("train", "batch_size", 3, r"train\.batch_size 3: must be a positive multiple of the 4"),
        ("mesh", "shards", 3, r"mesh\.shards 3: must divide the 4 chips"),
        ("mesh", "devices", 2, r"mesh\.devices 2: v5e:2x2 has 4"),
    ],
)
def test_fields_that_the_slice_cannot_have(section, field, value, message):
    config = tiny_config()
    config[section][field] = value
    with pytest.raises(InputError, match=message):
        plan_training(config, find_slice("v5e:2x2"))


def test_batches_of_more_values_than_int32_holds():
    config = tiny_config()
    config.data.image_size = 256
    config.train.batch_size = 2**16
    lowered, _ = lower_train_step(config, mesh_of(jax.devices()))
    assert lowered.in_avals[0][1]["mask"].shape == (2**16, 256, 256)
