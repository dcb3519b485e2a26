"""Which form is traced: all of them, or that of a device that is known."""

import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from harmony_jax.models.batchnorm import BatchNorm
from harmony_jax.models.platform_forms import by_platform, forms_for
from harmony_jax.models.resizing import resize
from tests.models.platforms import DEVICES, PLATFORMS, forms_of

AMD = SimpleNamespace(platform="gpu", device_kind="AMD Instinct MI300X")


@pytest.mark.parametrize(
    ("device", "expected"),
    [(DEVICES["cpu"], "cpu"), (DEVICES["cuda"], "cuda"), (AMD, "default")],
    ids=["cpu", "cuda", "amd"],
)
def test_a_known_device_gets_its_form(device, expected):
    forms = {name: lambda _, name=name: name for name in ("cpu", "cuda", "default")}
    x = jnp.zeros(())
    with forms_for([device]):
        assert by_platform(x, **forms) == expected
        del forms["cuda"]
        assert by_platform(x, **forms) == ("cpu" if expected == "cpu" else "default")


def test_nothing_traced_for_one_device_is_taken_for_another():
    def traced() -> str:
        return str(jax.make_jaxpr(lambda x: resize(x, (7, 8)))(jnp.ones((1, 4, 4, 2))))

    texts = {}
    for platform in PLATFORMS:
        with forms_of(platform):
            texts[platform] = traced()
    assert [name for name, text in texts.items() if "gather" in text] == ["cpu", "cuda", "portable"]
    assert [name for name, text in texts.items() if "cond" in text] == []
    assert "platform_index" in traced()


@pytest.mark.parametrize(("count", "at_once"), [(1, 2), (8, 0)])
def test_sums_that_devices_add_up_are_apart(count, at_once):
    """Batch normalisation's, forward and backward, on NVIDIA GPUs."""

    def loss(x):
        return jnp.square(BatchNorm(3, dtype=jnp.float32)(x)).sum()

    with forms_for([DEVICES["cuda"]] * count):
        program = str(jax.make_jaxpr(jax.grad(loss))(jnp.ones((2, 8, 8, 3))))
    assert len(re.findall(r"\breduce\[", program)) == at_once
