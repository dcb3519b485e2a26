import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harmony_jax.models import resizing
from harmony_jax.models.resizing import resize

SIZES = [((4, 6), (8, 11)), ((9, 5), (4, 5)), ((3, 3), (1, 7)), ((1, 1), (4, 3)), ((2, 9), (2, 3))]


@pytest.mark.parametrize(("old", "new"), SIZES, ids=str)
def test_each_axis_is_linear_interpolation_between_the_corners(old, new):
    x = np.random.default_rng(0).standard_normal((2, *old, 3)).astype(np.float32)
    expected = x
    for axis, (before, after) in enumerate(zip(old, new, strict=True), 1):
        position = np.linspace(0, before - 1, after) if after > 1 else np.zeros(1)
        expected = np.apply_along_axis(
            lambda line, at=position, n=before: np.interp(at, np.arange(n), line), axis, expected
        )
    np.testing.assert_allclose(resize(jnp.asarray(x), new), expected, atol=1e-5)
    for form in (resizing._by_products, resizing._by_gathering_at_once):
        np.testing.assert_allclose(form(jnp.asarray(x), size=new), expected, atol=1e-5)


@pytest.mark.parametrize(("old", "new"), SIZES, ids=str)
def test_gradient_is_that_of_the_gathering(old, new):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((2, *old, 3)), jnp.float32)
    gradient = jnp.asarray(rng.standard_normal((2, *new, 3)), jnp.float32)
    _, found = jax.vjp(lambda x: resize(x, new), x)
    _, expected = jax.vjp(lambda x: resizing._by_gathering(x, size=new), x)
    np.testing.assert_allclose(found(gradient)[0], expected(gradient)[0], atol=1e-5)
    gathered = resizing._transposed_by_gathering(gradient, size=old)
    np.testing.assert_allclose(gathered, expected(gradient)[0], atol=1e-5)


def test_a_tpu_gets_matrix_products():
    function = jax.jit(lambda x: resize(x, (8, 8))).trace(jnp.ones((1, 4, 4, 2)))
    for platform in ("cpu", "cuda"):
        assert "gather" in function.lower(lowering_platforms=(platform,)).as_text()
    for_tpu = function.lower(lowering_platforms=("tpu",)).as_text()
    assert "dot_general" in for_tpu
    assert "gather" not in for_tpu
