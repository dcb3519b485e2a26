"""The benchmark's metrics of each image, and their means by subset and by foreground ratio."""

from collections.abc import Iterable
from typing import TypedDict

import jax.numpy as jnp
from jaxtyping import Array, Float

# Foreground ratio ranges of the paper's table 2; both ends belong to a range.
RATIO_RANGES = ((0.0, 0.05), (0.05, 0.15), (0.15, 1.0), (0.0, 1.0))


class ImageMetrics(TypedDict):
    """One image's numbers: errors on the scale of [0, 255], PSNR in dB, ratio in [0, 1]."""

    subset: str
    name: str
    foreground_ratio: float
    MSE: float
    fMSE: float
    PSNR: float


Summary = dict[str, dict[str, float]]


def image_errors(
    prediction: Float[Array, "batch height width 3"],
    target: Float[Array, "batch height width 3"],
    mask: Float[Array, "batch height width 1"],
) -> dict[str, Float[Array, " batch"]]:
    """MSE, fMSE and PSNR of each image, as the released evaluation computes them.

    Args:
        prediction: RGB on the scale of [0, 255]; clamped to it here, not rounded.
        target: real photo, RGB in [0, 255].
        mask: foreground in [0, 1], soft values kept.

    Returns:
        `MSE` over all pixels, `fMSE` weighted by the mask, `PSNR` in dB against the target's own
        maximum.
    """
    squared_error = jnp.square(jnp.clip(prediction, 0, 255) - target)
    mean_error = squared_error.mean((1, 2, 3))
    foreground_error = (mask * squared_error).sum((1, 2, 3)) / (3 * mask.sum((1, 2, 3)) + 1e-6)
    peak = target.max((1, 2, 3))
    psnr = 10 * jnp.log10(jnp.square(peak) / (mean_error + 1e-6))
    return {"MSE": mean_error, "fMSE": foreground_error, "PSNR": psnr}


def foreground_ratio(mask: Float[Array, "batch height width 1"]) -> Float[Array, " batch"]:
    """Share of pixels whose mask is above 0.5."""
    return (mask > 0.5).mean((1, 2, 3))


def summarize(images: Iterable[ImageMetrics]) -> Summary:
    """Means over images: by subset, over all, and over all by range of foreground ratio.

    Returns:
        `{"HCOCO" | ... | "All" | "All 0%-5%" | ...: {"N", "MSE", "fMSE", "PSNR"}}`; groups without
        an image are left out.
    """
    images = list(images)
    groups: dict[str, list[ImageMetrics]] = {}
    for subset in sorted({image["subset"] for image in images}):
        groups[subset] = [image for image in images if image["subset"] == subset]
    groups["All"] = images
    for low, high in RATIO_RANGES:
        groups[f"All {low:.0%}-{high:.0%}"] = [
            image for image in images if low <= image["foreground_ratio"] <= high
        ]
    return {name: _means(members) for name, members in groups.items() if members}


def _means(images: list[ImageMetrics]) -> dict[str, float]:
    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    return {
        "N": float(len(images)),
        "MSE": mean([image["MSE"] for image in images]),
        "fMSE": mean([image["fMSE"] for image in images]),
        "PSNR": mean([image["PSNR"] for image in images]),
    }
