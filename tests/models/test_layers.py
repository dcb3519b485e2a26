import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from harmony_jax.models.batchnorm import BatchNorm
from harmony_jax.models.layers import LayerMaker, elu


def test_running_variance_is_unbiased_and_counts_batches():
    norm = BatchNorm(2, dtype=jnp.float32)
    x = jnp.arange(12.0).reshape(3, 1, 2, 2)
    y = norm(x)
    values = np.asarray(x).reshape(6, 2)
    np.testing.assert_allclose(norm.mean[...], 0.1 * values.mean(0), rtol=1e-6)
    np.testing.assert_allclose(norm.var[...], 0.9 + 0.1 * values.var(0, ddof=1), rtol=1e-6)
    assert int(norm.num_batches_tracked[...]) == 1
    expected = (values - values.mean(0)) / np.sqrt(values.var(0) + 1e-5)
    np.testing.assert_allclose(np.asarray(y).reshape(6, 2), expected, rtol=1e-5, atol=1e-5)


def test_evaluation_uses_and_keeps_the_running_statistics():
    norm = BatchNorm(1, dtype=jnp.float32)
    norm.mean[...], norm.var[...] = jnp.array([2.0]), jnp.array([4.0])
    norm.eval()
    y = norm(jnp.full((1, 2, 2, 1), 6.0))
    np.testing.assert_allclose(y, 2.0, rtol=1e-5)
    assert float(norm.mean[...][0]) == 2.0


def test_a_batch_of_one_value_stays_finite():
    norm = BatchNorm(3, dtype=jnp.float32)
    assert jnp.isfinite(norm(jnp.ones((1, 1, 1, 3)))).all()
    assert jnp.isfinite(norm.var[...]).all()


def test_elu_and_its_gradient():
    x = jnp.array([-30.0, -1.0, -1e-3, 0.5, 90.0])
    np.testing.assert_allclose(elu(x), jax.nn.elu(x), atol=1.2e-7)
    gradient = jax.vmap(jax.grad(elu))(x)
    np.testing.assert_allclose(gradient, jax.vmap(jax.grad(jax.nn.elu))(x), rtol=1e-6, atol=1e-12)


def test_initial_kernels_are_normal_with_the_released_variance():
    conv = LayerMaker(nnx.Rngs(0)).conv(64, 32, 4)
    kernel = np.asarray(conv.kernel[...])
    std = np.sqrt(2 / (16 * (64 + 32) / 2))
    assert kernel.dtype == np.float32
    np.testing.assert_allclose(kernel.std(), std, rtol=0.02)
    np.testing.assert_allclose(kernel.mean(), 0, atol=4 * std / np.sqrt(kernel.size))
    within = [(np.abs(kernel) < n * std).mean() for n in (1, 2, 3)]
    np.testing.assert_allclose(within, (0.6827, 0.9545, 0.9973), atol=0.01)
    assert not conv.bias[...].any()


def test_kernels_are_independent_and_follow_the_seed():
    def kernel(make: LayerMaker) -> np.ndarray:
        return np.ravel(make.kernel(3, 3, 32, 32)[...])

    rngs = nnx.Rngs(0)
    make = LayerMaker(rngs)
    one = kernel(make)
    for other in (kernel(make), kernel(LayerMaker(rngs)), kernel(LayerMaker(nnx.Rngs(1)))):
        assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(one.size)
    compiled = jax.jit(lambda: LayerMaker(nnx.Rngs(0)).kernel(3, 3, 32, 32)[...])()
    np.testing.assert_array_equal(np.ravel(compiled), one)
