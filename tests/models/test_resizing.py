import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harmony_jax.models.resizing import resize
from tests.models.platforms import PLATFORMS, forms_of

SIZES = [((4, 6), (8, 11)), ((9, 5), (4, 5)), ((3, 3), (1, 7)), ((1, 1), (4, 3)), ((2, 9), (2, 3))]


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize(("old", "new"), SIZES, ids=str)
def test_each_axis_is_linear_interpolation_between_the_corners(old, new, platform):
    """The gradient is the transpose of that linear map."""
    rng = np.random.default_rng(0)
    x, gradient = (rng.standard_normal((2, *size, 3)).astype(np.float32) for size in (old, new))
    weights = []
    for before, after in zip(old, new, strict=True):
        position = np.linspace(0, before - 1, after) if after > 1 else np.zeros(1)
        units = np.eye(before)
        weights.append([np.interp(position, np.arange(before), unit) for unit in units])
    with forms_of(platform):
        result, transpose = jax.vjp(lambda x: resize(x, new), jnp.asarray(x))
        (found,) = transpose(jnp.asarray(gradient))
    rows, columns = map(np.asarray, weights)
    np.testing.assert_allclose(result, np.einsum("hp,wq,bhwc->bpqc", rows, columns, x), atol=1e-5)
    np.testing.assert_allclose(
        found, np.einsum("hp,wq,bpqc->bhwc", rows, columns, gradient), atol=1e-5
    )
