"""Which form is traced: all of them, or that of a device that is known."""

import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from harmony_jax.models.batchnorm import BatchNorm
from harmony_jax.models.platform_forms import by_platform, forms_for, portable_forms
from harmony_jax.models.resizing import resize


def device(platform: str, kind: str = "") -> SimpleNamespace:
    return SimpleNamespace(platform=platform, device_kind=kind)


DEVICES = {
    "cpu": device("cpu", "cpu"),
    "cuda": device("gpu", "NVIDIA H200"),
    "default": device("gpu", "AMD Instinct MI300X"),
}


@pytest.mark.parametrize("form", DEVICES)
def test_a_known_device_gets_its_form_alone(form):
    with forms_for([DEVICES[form]]):
        found = by_platform(
            jnp.zeros(()), cpu=lambda _: "cpu", cuda=lambda _: "cuda", default=lambda _: "default"
        )
    assert found == form


def test_without_its_own_form_a_gpu_gets_the_default():
    with forms_for([DEVICES["cuda"]]):
        assert by_platform(jnp.zeros(()), cpu=lambda _: 1, default=lambda _: 2) == 2


def test_nothing_traced_for_one_device_is_taken_for_another():
    x = jnp.ones((1, 4, 4, 2))

    def traced() -> str:
        def gradient(x):
            return jax.grad(lambda x: jnp.square(resize(x, (7, 8))).sum())(x)

        return str(jax.make_jaxpr(gradient)(x)) + str(
            jax.make_jaxpr(lambda x: resize(x, (7, 8)))(x)
        )

    with forms_for([DEVICES["cpu"]]):
        on_cpu = traced()
    with forms_for([device("tpu")]):
        on_tpu = traced()
    with portable_forms():
        portable = traced()
    anywhere = traced()
    assert "gather" in on_cpu
    assert "cond" not in on_cpu
    assert "gather" not in on_tpu
    assert "gather" in portable
    assert "platform_index" in anywhere


@pytest.mark.parametrize(("count", "at_once"), [(1, 2), (8, 0)])
def test_sums_that_devices_add_up_are_apart(count, at_once):
    """Batch normalisation's, forward and backward, on NVIDIA's GPUs."""

    def loss(x):
        return jnp.square(BatchNorm(3, dtype=jnp.float32)(x)).sum()

    with forms_for([DEVICES["cuda"]] * count):
        program = str(jax.make_jaxpr(jax.grad(loss))(jnp.ones((2, 8, 8, 3))))
    assert len(re.findall(r"\breduce\[", program)) == at_once
