import jax.numpy as jnp
import numpy as np
import pytest

from harmony_jax.evaluation.metrics import foreground_ratio, image_errors, summarize


def test_errors_of_a_known_pair():
    """Against numpy in float64, with a soft mask, an unrounded and an out-of-range prediction."""
    rng = np.random.default_rng(0)
    target = rng.integers(0, 201, (2, 8, 8, 3)).astype(np.float64)
    prediction = target + rng.normal(0, 40, target.shape)
    mask = rng.random((2, 8, 8, 1))
    clipped = np.clip(prediction, 0, 255)
    assert (clipped != prediction).any()
    found = image_errors(*(jnp.asarray(a, jnp.float32) for a in (prediction, target, mask)))
    for i in range(2):
        square = (clipped[i] - target[i]) ** 2
        mean = square.mean()
        np.testing.assert_allclose(found["MSE"][i], mean, rtol=1e-5)
        foreground = (mask[i] * square).sum() / (3 * mask[i].sum() + 1e-6)
        np.testing.assert_allclose(found["fMSE"][i], foreground, rtol=1e-5)
        psnr = 10 * np.log10(target[i].max() ** 2 / (mean + 1e-6))
        np.testing.assert_allclose(found["PSNR"][i], psnr, rtol=1e-5)


def test_a_perfect_prediction_has_a_finite_psnr():
    target = jnp.full((1, 4, 4, 3), 100.0)
    found = image_errors(target, target, jnp.ones((1, 4, 4, 1)))
    assert float(found["MSE"][0]) == 0
    np.testing.assert_allclose(found["PSNR"][0], 100.0, rtol=1e-4)


def test_foreground_ratio_counts_pixels_above_one_half():
    mask = jnp.zeros((1, 4, 4, 1)).at[0, 0].set(0.5).at[0, 1].set(0.51)
    np.testing.assert_allclose(foreground_ratio(mask), [0.25])


def record(subset: str, ratio: float, mse: float) -> dict:
    return {
        "subset": subset,
        "name": "a",
        "foreground_ratio": ratio,
        "MSE": mse,
        "fMSE": 2 * mse,
        "PSNR": 30 + mse,
    }


def test_means_by_subset_and_by_ratio_with_both_ends_in():
    summary = summarize([record("B", 0.05, 1.0), record("A", 0.2, 3.0), record("B", 0.01, 5.0)])
    assert summary["B"] == {"N": 2.0, "MSE": 3.0, "fMSE": 6.0, "PSNR": 33.0}
    assert summary["All"]["MSE"] == pytest.approx(3.0)
    assert summary["All 0%-5%"]["N"] == 2  # 0.05 counts here ...
    assert summary["All 5%-15%"]["N"] == 1  # ... and here
    assert summary["All 15%-100%"]["N"] == 1
    assert list(summary)[:3] == ["A", "B", "All"]
    assert "All 15%-100%" not in summarize([record("A", 0.01, 1.0)])
