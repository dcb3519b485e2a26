"""A prediction's change of colour, fitted at the network's size and applied at the photo's.

Enlarging a prediction would lose everything finer than the network's pixels. So its change of
colour is enlarged instead: around each pixel an affine function of the composite's colour. These
change slowly over the picture; edges and detail come from the photo that they are applied to. This
is a guided filter (He, Sun and Tang, Guided Image Filtering, PAMI 2013) with the composite as guide
and the mask as weight. The residual, slightly smoothed, is added to the offset: it holds changes
that no function of colour explains, such as a shadow's.

docs/performance.md compares the choices made here.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num, UInt

# Standard deviations of the Gaussian windows, as shares of the picture's side.
_WINDOW = 1 / 16  # for fitting functions
_AVERAGE = 1 / 32  # for averaging the fitted functions
_REMAINDER = 1.5 / 256  # for smoothing the residual
# Added to the variance of colours, in [0, 1], so that flat regions keep their small differences.
_RIDGE = 1e-4
# Weights below this count as no foreground nearby: colours stay as they are.
_LEAST_WEIGHT = 1e-6

_HIGHEST = jax.lax.Precision.HIGHEST  # TPUs would round the moments to bfloat16

Coefficients = Float[Array, "12 grid_height grid_width"]


def fit_color_transform(
    composite: Num[Array, "grid_height grid_width 3"],
    prediction: Num[Array, "grid_height grid_width 3"],
    mask: Float[Array, "grid_height grid_width"],
) -> Coefficients:
    """Fits how the prediction changes the composite's colours inside the mask.

    Args:
        composite: what the network saw, RGB in [0, 255].
        prediction: its harmonized image, RGB in [0, 255].
        mask: the weight of each pixel, in [0, 1].

    Returns:
        For each pixel and output channel k: at 4 k + j the slope in channel j of the composite, and
        at 4 k + 3 the offset in [0, 255]. 0 far from the foreground.
    """
    height, width, _ = composite.shape
    # Relative to the foreground's mean, so that differences of moments keep their digits.
    total = mask.sum() + _LEAST_WEIGHT
    guide = jnp.moveaxis(composite.astype(jnp.float32) / 255, -1, 0)
    mean = (guide * mask).sum((1, 2), keepdims=True) / total
    guide = guide - mean
    change = jnp.moveaxis((prediction.astype(jnp.float32) - composite) / 255, -1, 0)

    def average(planes: Float[Array, "n h w"], share: float) -> Float[Array, "n h w"]:
        window = _gaussian(height, share), _gaussian(width, share)
        weight = _filter(mask[None], *window)
        return jnp.where(
            weight > _LEAST_WEIGHT,
            _filter(planes * mask, *window) / jnp.maximum(weight, _LEAST_WEIGHT),
            0,
        )

    products = [guide[i] * guide[j] for i in range(3) for j in range(i, 3)]
    cross = [guide[i] * change[k] for k in range(3) for i in range(3)]
    moments = average(jnp.stack([*guide, *change, *products, *cross]), _WINDOW)
    guide_mean, change_mean = moments[:3], moments[3:6]
    pairs = [(i, j) for i in range(3) for j in range(i, 3)]
    covariance = {
        pair: moment - guide_mean[pair[0]] * guide_mean[pair[1]] + _RIDGE * (pair[0] == pair[1])
        for pair, moment in zip(pairs, moments[6:12], strict=True)
    }
    planes = []
    for k in range(3):
        joint = moments[12 + 3 * k : 15 + 3 * k] - guide_mean * change_mean[k]
        slopes = _solve(covariance, joint)
        offset = change_mean[k] - (slopes * guide_mean).sum(0)
        planes += [*slopes, offset]
    functions = average(jnp.stack(planes), _AVERAGE).reshape(3, 4, height, width)
    slopes, offsets = functions[:, :3], functions[:, 3]
    remainder = change - (slopes * guide).sum(1) - offsets
    offsets = offsets + average(remainder, _REMAINDER) - (slopes * mean).sum(1)
    return jnp.concatenate([slopes, 255 * offsets[:, None]], 1).reshape(12, height, width)


def apply_color_transform(
    coefficients: Coefficients,
    tile: UInt[Array, "height width 3"],
    mask: Float[Array, "height width"],
    origin: Float[Array, " 2"],
    size: Float[Array, " 2"],
) -> UInt[Array, "height width 3"]:
    """Changes the colours of one tile of a photo.

    Args:
        coefficients: of the whole photo, at any resolution, as `fit_color_transform` gives them.
        tile: of the photo, RGB, uint8 or uint16 over the type's whole range.
        mask: how much of the change each pixel takes, in [0, 1].
        origin: row and column of the tile in the photo.
        size: the photo's height and width.

    Returns:
        The tile, of the same type; where the mask is 0, it is as it was.
    """
    height, width = mask.shape
    top, row_share = _neighbours(origin[0], height, size[0], coefficients.shape[1])
    left, column_share = _neighbours(origin[1], width, size[1], coefficients.shape[2])
    # By whole rows of planes: XLA:CPU takes 10 times as long to gather 12 values per pixel.
    rows = coefficients[:, top] * (1 - row_share)[:, None]
    rows = rows + coefficients[:, top + 1] * row_share[:, None]
    planes = rows[:, :, left] * (1 - column_share) + rows[:, :, left + 1] * column_share
    full = float(jnp.iinfo(tile.dtype).max)
    channels = [tile[..., k].astype(jnp.float32) for k in range(3)]
    changed = []
    for k in range(3):
        change = sum(planes[4 * k + j] * channels[j] for j in range(3))
        change = change + planes[4 * k + 3] * (full / 255)
        harmonized = jnp.clip(channels[k] + change, 0, full)
        changed.append(channels[k] + mask * (harmonized - channels[k]))
    return jnp.round(jnp.stack(changed, -1)).astype(tile.dtype)


def _gaussian(side: int, share: float) -> Float[Array, "side side"]:
    """The matrix that filters a row of pixels; nothing lies outside of the picture."""
    places = jnp.arange(side)
    distance = (places[:, None] - places[None]) / (share * side)
    window = jnp.exp(-jnp.square(distance) / 2)
    return window / window[side // 2].sum()


def _filter(
    planes: Float[Array, "n h w"], rows: Float[Array, "h h"], columns: Float[Array, "w w"]
) -> Float[Array, "n h w"]:
    planes = jnp.einsum("nhw,vw->nhv", planes, columns, precision=_HIGHEST)
    return jnp.einsum("nhw,uh->nuw", planes, rows, precision=_HIGHEST)


def _solve(
    matrix: dict[tuple[int, int], Float[Array, "h w"]], right: Float[Array, "3 h w"]
) -> Float[Array, "3 h w"]:
    """Solves a symmetric positive 3x3 system at each pixel.

    By LDL factors: for a grey picture, cofactors would be lost in rounding.
    """
    first = matrix[0, 0]
    l10, l20 = matrix[0, 1] / first, matrix[0, 2] / first
    second = matrix[1, 1] - l10 * matrix[0, 1]
    l21 = (matrix[1, 2] - l20 * matrix[0, 1]) / second
    third = matrix[2, 2] - l20 * matrix[0, 2] - l21 * l21 * second
    y0 = right[0]
    y1 = right[1] - l10 * y0
    y2 = right[2] - l20 * y0 - l21 * y1
    x2 = y2 / third
    x1 = y1 / second - l21 * x2
    x0 = y0 / first - l10 * x1 - l20 * x2
    return jnp.stack([x0, x1, x2])


def _neighbours(
    start: Float[Array, ""], count: int, side: Float[Array, ""], grid_side: int
) -> tuple[Array, Array]:
    """For a tile's rows (or columns): the grid row before each, and the share of the next."""
    places = (start + jnp.arange(count) + 0.5) * (grid_side / side) - 0.5
    places = jnp.clip(places, 0, grid_side - 1)
    first = jnp.minimum(places.astype(jnp.int32), grid_side - 2)
    return first, places - first
