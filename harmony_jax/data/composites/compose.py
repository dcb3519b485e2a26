"""Makes a composite of a photo and its object's mask: the same pixels with NumPy and with JAX.

Everything is written once, for one photo, with functions that both libraries have; `xp` is the
library. Worker processes use NumPy; accelerators map the JAX form over a batch.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, UInt8

from harmony_jax.data.composites.parameters import EDGE_BLUR, Parameters

_MAX_CELLS = 32
_LEAST_KEPT = 0.5  # a coarse mask that keeps a smaller share of the area is not used
_LEAST_MASK = 16.0  # pixels of foreground that a moved edge must leave
_STOP = 1 / 2.2  # sRGB is close to a power law, so light can multiply it directly
_LIGHT_REACH = 1.5  # greatest multiple of `Parameters.light`, far from the object's middle

# CIE XYZ of linear sRGB, divided by the XYZ of its white (D65).
_XYZ = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
) / np.array([[0.950456], [1.0], [1.088754]])
_RGB = np.linalg.inv(_XYZ)


def compose_with_numpy(
    real: UInt8[np.ndarray, "height width 3"],
    mask: UInt8[np.ndarray, "height width"],
    parameters: Parameters,
) -> tuple[UInt8[np.ndarray, "height width 3"], UInt8[np.ndarray, "height width"]]:
    """Makes one composite, and its mask.

    That mask may have a coarser outline than `mask`, which is white on the object, or an edge
    beside the one of the recoloured region.
    """
    region, given = _masks(np, mask, parameters)
    rows, columns = (np.flatnonzero(region.any(axis)) for axis in (1, 0))
    if not len(rows):
        return real.copy(), given
    # The time is spent per pixel, and nothing changes outside of this window.
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    stops = _stops(np, region, parameters)[window]
    planes = np.ascontiguousarray(np.moveaxis(real[window], -1, 0))
    composite = real.copy()
    blend = _blend(np, planes, region[window], stops, parameters)
    composite[window] = np.moveaxis(blend, 0, -1)
    return composite, given


def compose_with_jax(
    photos: UInt8[Array, "batch 4 height width"], parameters: Parameters
) -> tuple[UInt8[Array, "batch 3 height width"], UInt8[Array, "batch height width"]]:
    """Makes the composites of a batch; the mask is each photo's fourth channel."""

    def one(planes: Array, parameters: Parameters) -> tuple[Array, Array]:
        region, given = _masks(jnp, planes[3], parameters)
        stops = _stops(jnp, region, parameters)
        return _blend(jnp, planes[:3], region, stops, parameters), given

    with jax.default_matmul_precision("highest"):  # masks are exact to the grey level
        return jax.vmap(one)(photos, parameters)


def _choose(xp: Any, number: Any, functions: Sequence[Callable[..., Any]], *arguments: Any) -> Any:
    """Calls the function of a number; all of them return the same shape."""
    if xp is np:
        return functions[int(number)](*arguments)
    return lax.switch(number, functions, *arguments)


def _unchanged(pixels: Any, _: Any) -> Any:
    return pixels


def _masks(xp: Any, mask: Any, parameters: Parameters) -> tuple[Any, Any]:
    """The region that is recoloured, in [0, 1], and the mask that goes with it, uint8."""
    region = mask.astype(xp.float32) / 255
    rough = (parameters.cells > 0).astype(xp.int32)
    region = _choose(xp, rough, [_unchanged, partial(_coarse, xp)], region, parameters.cells)
    moved = (parameters.edge[1] > 0).astype(xp.int32)
    given = _choose(xp, moved, [_unchanged, partial(_moved, xp)], region, parameters.edge)
    return region, _to_uint8(xp, 255 * given)


def _coarse(xp: Any, mask: Any, cells: Any) -> Any:
    """The mask with straight edges between the knots of a coarse grid, like a hasty polygon."""

    def weights(length: int) -> Any:
        """Linear interpolation: [knots, pixels]."""
        position = (xp.arange(length, dtype=xp.float32) + 0.5) * (cells / length)
        knots = xp.arange(_MAX_CELLS + 1, dtype=xp.float32)
        return xp.maximum(0, 1 - xp.abs(position[None] - knots[:, None]))

    rows, columns = (weights(length) for length in mask.shape)
    area = rows.sum(1)[:, None] * columns.sum(1)[None]
    # With matrix products NumPy would start threads in every worker.
    knots = xp.einsum("kx,lx->kl", xp.einsum("ky,yx->kx", rows, mask), columns)
    knots = knots / xp.maximum(area, 1e-6)
    smooth = xp.einsum("ky,kx->yx", rows, xp.einsum("kl,lx->kx", knots, columns))
    sharp = xp.clip(0.5 + (smooth - 0.5) * (max(mask.shape) / cells), 0, 1)
    return xp.where(sharp.sum() >= _LEAST_KEPT * mask.sum(), sharp, mask)


def _moved(xp: Any, mask: Any, edge: Any) -> Any:
    """The mask a little larger or smaller, with a softer edge: blurred, then thresholded."""
    reach = round(3 * EDGE_BLUR)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / EDGE_BLUR) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)
    blurred = xp.pad(mask, reach, mode="edge")
    for axis in (0, 1):
        length = mask.shape[axis]
        lines = [slice(tap, tap + length) for tap in range(len(taps))]
        places = [(line, slice(None)) if axis == 0 else (slice(None), line) for line in lines]
        blurred = sum(weight * blurred[place] for weight, place in zip(taps, places, strict=True))
    threshold, gain = edge[0], edge[1]
    moved = xp.clip(0.5 + gain * (blurred - threshold), 0, 1)
    return xp.where(moved.sum() >= xp.minimum(_LEAST_MASK, mask.sum()), moved, mask)


def _stops(xp: Any, region: Any, parameters: Parameters) -> Any:
    """Light that differs over the object, in stops: [height, width]."""
    axes = []
    for axis in (0, 1):
        weight = region.sum(1 - axis)
        total = xp.maximum(weight.sum(), 1e-6)
        place = xp.arange(len(weight), dtype=xp.float32)
        middle = (weight * place).sum() / total
        spread = xp.sqrt((weight * (place - middle) ** 2).sum() / total) + 1e-6
        # 1 at the side of an evenly filled region, whose deviation is side / sqrt(3).
        side = (place - middle) / (np.float32(np.sqrt(3)) * spread)
        axes.append(parameters.light[axis] * xp.clip(side, -_LIGHT_REACH, _LIGHT_REACH))
    return axes[0][:, None] + axes[1][None]


def _blend(xp: Any, pixels: Any, region: Any, stops: Any, parameters: Parameters) -> Any:
    """The composite's pixels, uint8 [3, height, width]."""
    real = pixels.astype(xp.float32) / 255
    ways = [partial(way, xp) for way in (_reinhard, _linear, _histogram, _retouch)]
    recoloured = _choose(xp, parameters.kind, [*ways, _unchanged], real, parameters)
    new = xp.clip(real + parameters.strength * (recoloured - real), 0, 1)
    new = xp.clip(new * xp.exp2(np.float32(_STOP) * stops), 0, 1)
    return _to_uint8(xp, 255 * (real + region * (new - real)))


def _reinhard(xp: Any, pixels: Any, parameters: Parameters) -> Any:
    """Transfers mean and deviation of each channel of Lab (Reinhard et al., 2001)."""
    lightness, a, b = _to_lab(xp, pixels)
    gain, offset = parameters.lab_gain, parameters.lab_offset
    moved = [gain[i] * plane + offset[i] for i, plane in enumerate((lightness, a, b))]
    return _from_lab(xp, moved)


def _linear(xp: Any, pixels: Any, parameters: Parameters) -> Any:
    """Transfers mean and covariance of RGB (Pitié and Kokaram, 2007)."""
    mixed = _mixed(pixels, parameters.matrix)
    return xp.stack([plane + parameters.offset[i] for i, plane in enumerate(mixed)])


def _histogram(xp: Any, pixels: Any, parameters: Parameters) -> Any:
    """Transfers each channel's histogram, by quantiles (Gonzalez and Woods)."""
    levels = xp.arange(256, dtype=xp.float32) / 255
    # Interpolation needs growing quantiles; those of a channel with few values are equal.
    apart = xp.linspace(0, 1e-4, parameters.quantiles.shape[-1], dtype=xp.float32)
    planes = []
    for channel in range(3):
        quantiles, targets = parameters.quantiles[channel], parameters.targets[channel]
        curve = xp.interp(levels, quantiles + apart, targets).astype(xp.float32)
        index = xp.round(255 * pixels[channel]).astype(xp.int32)
        planes.append(xp.take(curve, index))
    return xp.stack(planes)


def _retouch(xp: Any, pixels: Any, parameters: Parameters) -> Any:
    """Exposure and white balance in linear light, then contrast, saturation, hue and tone curve."""
    gains = xp.exp2(parameters.exposure)
    planes = [_to_srgb(xp, _to_linear(xp, pixels[i]) * gains[i]) for i in range(3)]
    pivot = parameters.pivot
    planes = [pivot + parameters.contrast * (plane - pivot) for plane in planes]
    mixed = xp.stack(_mixed(planes, parameters.color))
    return xp.clip(mixed, 1e-4, 1) ** parameters.gamma


def _mixed(planes: Any, matrix: Any) -> list[Any]:
    """A matrix times each pixel, as sums, because accelerators round matrix products."""
    return [sum(matrix[i][j] * planes[j] for j in range(3)) for i in range(3)]


def _to_linear(xp: Any, value: Any) -> Any:
    curve = ((xp.maximum(value, 0.04045) + np.float32(0.055)) / np.float32(1.055)) ** 2.4
    return xp.where(value > 0.04045, curve, value / np.float32(12.92))


def _to_srgb(xp: Any, value: Any) -> Any:
    curve = np.float32(1.055) * xp.maximum(value, 0.0031308) ** np.float32(1 / 2.4)
    return xp.where(value > 0.0031308, curve - np.float32(0.055), np.float32(12.92) * value)


def _to_lab(xp: Any, pixels: Any) -> list[Any]:
    linear = [_to_linear(xp, pixels[i]) for i in range(3)]

    def root(value: Any) -> Any:
        straight = np.float32(7.787) * value + np.float32(16 / 116)
        return xp.where(value > 0.008856, xp.cbrt(value), straight)

    x, y, z = (root(value) for value in _mixed(linear, _XYZ.astype(np.float32)))
    return [116 * y - 16, 500 * (x - y), 200 * (y - z)]


def _from_lab(xp: Any, lab: Any) -> Any:
    lightness, a, b = lab
    y = (lightness + 16) / 116

    def cubed(value: Any) -> Any:
        straight = (value - np.float32(16 / 116)) / np.float32(7.787)
        return xp.where(value > 0.206893, value**3, straight)

    xyz = [cubed(value) for value in (y + a / 500, y, y - b / 200)]
    return xp.stack([_to_srgb(xp, plane) for plane in _mixed(xyz, _RGB.astype(np.float32))])


def _to_uint8(xp: Any, value: Any) -> Any:
    return xp.clip(xp.round(value), 0, 255).astype(xp.uint8)
