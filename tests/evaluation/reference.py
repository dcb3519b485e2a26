"""What the metrics are held against."""

import numpy as np
from skimage.metrics import structural_similarity


def ssim_of_one(image: np.ndarray, target: np.ndarray) -> float:
    """SSIM of two pictures with levels in [0, 255], by scikit-image."""
    return structural_similarity(
        image,
        target,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        channel_axis=-1,
    )
