"""Compiler options of a step: taken, refused, or failing where the step runs."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harmony_jax import InputError
from harmony_jax.devices.mesh import create_mesh
from harmony_jax.training import compiler_options as options

COMMAND_BUFFERS = "xla_gpu_enable_command_buffer"
TAKEN = "xla_gpu_autotune_level"  # by compilers of all platforms


@pytest.mark.parametrize("refused", ["xla_gpu_no_such_thing=1", f"{COMMAND_BUFFERS}=EVERYTHING"])
def test_an_option_that_the_compiler_refuses_is_named_in_a_line_and_left_out(caplog, refused):
    taken = options.compiler_options((refused, f"{TAKEN}=0"), create_mesh(1))
    assert taken == {TAKEN: "0"}
    (line,) = caplog.messages
    assert refused in line
    assert "\n" not in line


@pytest.mark.parametrize("text", [TAKEN, "=1", f"{TAKEN}="])
def test_a_text_of_another_form(text):
    with pytest.raises(InputError, match=rf"^train\.compiler_options '{text}': expected NAME="):
        options.compiler_options((text,), create_mesh(1))


def test_a_platform_has_options_of_its_own_which_the_config_may_replace(monkeypatch, caplog):
    mesh = create_mesh(1)
    assert options.compiler_options((), mesh) == {}  # a CPU has none
    own = {TAKEN: "2", COMMAND_BUFFERS: "FUSION", "xla_gpu_no_such_thing": "1"}
    monkeypatch.setattr(options, "_DEFAULTS", {"cpu": own})
    caplog.set_level(logging.INFO)
    assert options.compiler_options((), mesh) == {TAKEN: "2", COMMAND_BUFFERS: "FUSION"}
    found = options.compiler_options((f"{COMMAND_BUFFERS}=CUDNN",), mesh)
    assert found == {TAKEN: "2", COMMAND_BUFFERS: "CUDNN"}
    assert {record.levelname for record in caplog.records} == {"INFO"}
    assert "xla_gpu_no_such_thing=1" in caplog.text


@pytest.mark.parametrize("failing", [1, 2, 3, None])
def test_a_step_that_fails_with_its_options_goes_on_without_them(caplog, failing):
    made, calls = [], []

    def make(given):
        made.append(given)

        def fails(batch) -> np.ndarray:
            calls.append(batch)
            if failing and len(calls) >= failing:
                raise RuntimeError("capture failed")
            return np.float32(batch)

        def step(state, batch):
            shape = jax.ShapeDtypeStruct((), jnp.float32)
            more = jax.pure_callback(fails, shape, batch) if given else batch
            return state + more, {}

        return jax.jit(step, donate_argnums=0)

    step = options.CautiousStep(make, {"a": "1", "b": "2"})
    state = jnp.zeros(3)
    caplog.set_level(logging.WARNING)
    for _ in range(3):
        state, _ = step(state, jnp.float32(2))
    np.testing.assert_array_equal(state, [6, 6, 6])
    assert made == [{"a": "1", "b": "2"}, {}][: 2 if failing else 1]
    if failing is None:
        return
    (line,) = (text for text in caplog.messages if "a=1, b=2" in text)
    assert "INTERNAL: " in line
