import numpy as np

from harmony_jax.evaluation.picture_sheet import Pictures, example_sheet


def test_sheet_holds_every_picture_unchanged():
    rng = np.random.default_rng(0)
    composite, real = (rng.integers(0, 256, (20, 30, 3)).astype(np.uint8) for _ in range(2))
    pictures = Pictures(
        composite=composite,
        mask=np.full((20, 30), 255, np.uint8),
        blend_mask=np.full((20, 30), 0.5, np.float32),
        prediction=np.full((20, 30, 3), 300.0),
        real=real,
    )
    image = {"subset": "HCOCO", "name": "caf\udce9.jpg", "composite_MSE": 1.0, "MSE": 2.0}
    sheet = example_sheet([(image, pictures), (image, pictures)])
    assert sheet.dtype == np.uint8
    row = sheet[20:40]
    np.testing.assert_array_equal(row[:, :30], composite)
    assert (row[:, 34:64] == 255).all()
    assert (row[:, 68:98] == 128).all()
    assert (row[:, 102:132] == 255).all()
    np.testing.assert_array_equal(row[:, 136:166], real)
    without = example_sheet([(image, pictures._replace(blend_mask=None))])
    assert without.shape == (sheet.shape[0] // 2, sheet.shape[1] // 5 * 4, 3)
