"""The benchmark's metrics of each image, and their means by subset and by foreground ratio."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from harmony_jax.arrays import Image, Mask

# Foreground ratio ranges of the paper's table 2; both ends belong to a range.
RATIO_RANGES = ((0.0, 0.05), (0.05, 0.15), (0.15, 1.0), (0.0, 1.0))

# With the decimals that tables and reports print.
METRICS = {"MSE": 2, "fMSE": 2, "PSNR": 2, "SSIM": 4}
LARGER_IS_BETTER = ("PSNR", "SSIM")
COMPOSITE = "composite_"  # before a metric's name: of the composite taken as a prediction

# One image's numbers: `subset`, `name`, `foreground_ratio` in [0, 1]; the model's `MSE` and `fMSE`
# on the scale of [0, 255], `PSNR` in dB, `SSIM`; and `composite_MSE` and so on.
ImageMetrics = dict[str, Any]

Summary = dict[str, dict[str, float]]


def image_errors(
    prediction: Image,
    target: Image,
    mask: Mask,
    valid: Mask | None = None,
) -> dict[str, Float[Array, " batch"]]:
    """MSE, fMSE and PSNR of each image, as the released evaluation computes them.

    Args:
        prediction: RGB on the scale of [0, 255]; clamped to it here, not rounded.
        target: real photo, RGB in [0, 255]; 0 in padding.
        mask: foreground in [0, 1], soft values kept; 0 in padding.
        valid: 1 inside the image, 0 in padding; by default there is no padding.

    Returns:
        `MSE` over all pixels, `fMSE` weighted by the mask, `PSNR` in dB against the target's own
        maximum.
    """
    squared_error = jnp.square(jnp.clip(prediction, 0, 255) - target)
    if valid is None:
        mean_error = squared_error.mean((1, 2, 3))
    else:
        mean_error = (valid * squared_error).sum((1, 2, 3)) / (3 * valid.sum((1, 2, 3)))
    foreground_error = (mask * squared_error).sum((1, 2, 3)) / (3 * mask.sum((1, 2, 3)) + 1e-6)
    peak = target.max((1, 2, 3))
    psnr = 10 * jnp.log10(jnp.square(peak) / (mean_error + 1e-6))
    return {"MSE": mean_error, "fMSE": foreground_error, "PSNR": psnr}


def foreground_ratio(
    mask: Mask,
    valid: Mask | None = None,
) -> Float[Array, " batch"]:
    """Share of the image's pixels whose mask is above 0.5; `valid` as in `image_errors`."""
    foreground = (mask > 0.5).astype(jnp.float32)
    if valid is None:
        return foreground.mean((1, 2, 3))
    return foreground.sum((1, 2, 3)) / valid.sum((1, 2, 3))


def summarize(per_image: Sequence[Mapping[str, Any]], prefix: str = "") -> Summary:
    """Means over images: by subset, over all, and over all by range of foreground ratio.

    Args:
        per_image: of the images (`ImageMetrics`); metrics that they lack are left out.
        prefix: `COMPOSITE` for the means of the composites.

    Returns:
        `{"HCOCO" | ... | "All" | "All 0%-5%" | ...: {"N", "MSE", "fMSE", "PSNR", "SSIM"}}`; groups
        without an image are left out.
    """
    groups = image_groups(per_image).items()
    return {name: _means([per_image[i] for i in members], prefix) for name, members in groups}


def image_groups(per_image: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """Indices of the images of each subset, of all, and of each range of foreground ratios."""
    groups: dict[str, list[int]] = {
        subset: [] for subset in sorted({i["subset"] for i in per_image})
    }
    for index, image in enumerate(per_image):
        groups[image["subset"]].append(index)
    groups["All"] = list(range(len(per_image)))
    for low, high in RATIO_RANGES:
        groups[range_name(low, high)] = [
            i for i, image in enumerate(per_image) if low <= image["foreground_ratio"] <= high
        ]
    return {name: members for name, members in groups.items() if members}


def range_name(low: float, high: float) -> str:
    """The group of a range of foreground ratios, such as All 0%-5%."""
    return f"All {low:.0%}-{high:.0%}"


def _means(per_image: list[Mapping[str, Any]], prefix: str) -> dict[str, float]:
    means = {"N": float(len(per_image))}
    for metric in METRICS:
        if prefix + metric in per_image[0]:
            means[metric] = sum(image[prefix + metric] for image in per_image) / len(per_image)
    return means
