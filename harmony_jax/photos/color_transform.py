"""A prediction's change of colour, fitted at the network's size and applied at the photo's.

Enlarging a prediction would lose everything finer than the network's pixels. So a function of
colour is fitted to its change, and applied to the photo as it is, with its edges and detail.

The network's answer is taken for no more than it knows:

- One affine function serves the whole foreground, pulled towards no change. Where the answer
  departs from it, as with light from one side, a part of the rest is added, smoothed widely.
- In shadows the change fades out, so that black stays black.
- Small changes are mostly noise, as objects that are right show, so less of them is taken.

docs/performance.md compares the choices made here.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num, UInt

# Colours whose mean of red, green and blue is below this share of the range change less.
SHADOWS = 0.2
# The pull towards no change, of the function and of what is added to it, in units of the mean
# square of colours in [0, 1].
_RIDGE, _LOCAL_RIDGE = 0.05, 0.3
_WINDOW = 1 / 16  # its Gaussian window: standard deviation as a share of the picture's side
# Of changes of this size (root mean square, as a share of the range) half is taken.
_NOISE = 0.04
# Weights below this count as no foreground nearby.
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
        at 4 k + 3 the offset in [0, 255]. What they give is the change outside of shadows.
    """
    height, width, _ = composite.shape
    colors = composite.astype(jnp.float32) / 255
    change = (prediction.astype(jnp.float32) - composite) / 255
    taken = _outside_shadows(colors.mean(-1))[..., None]
    terms = taken * jnp.concatenate([colors, jnp.ones_like(taken)], -1)

    def mean(products: str, *factors: Array) -> Array:
        moments = jnp.einsum(products, *factors, mask, precision=_HIGHEST)
        return moments / (mask.sum() + _LEAST_WEIGHT)

    moments = mean("hwi,hwj,hw->ij", terms, terms) + _RIDGE * jnp.eye(4)
    function = jnp.linalg.solve(moments, mean("hwi,hwk,hw->ik", terms, change))
    fitted = jnp.einsum("hwi,ik->hwk", terms, function, precision=_HIGHEST)

    window = _gaussian(height, _WINDOW), _gaussian(width, _WINDOW)
    rest = taken * (change - fitted)
    planes = jnp.concatenate([rest, jnp.square(taken), jnp.ones_like(taken)], -1) * mask[..., None]
    *local, square, weight = _filter(jnp.moveaxis(planes, -1, 0), *window)
    local = jnp.stack(local) / (square + _LOCAL_RIDGE * weight + _LEAST_WEIGHT)

    fitted = fitted + taken * jnp.moveaxis(local, 0, -1)
    size = mean("hwk,hwk,hw->", fitted, fitted) / 3
    share = jnp.square(size) / (jnp.square(size) + _NOISE**4)
    slopes = jnp.broadcast_to(function[:3].T[..., None, None], (3, 3, height, width))
    offsets = 255 * (function[3][:, None, None] + local)
    return share * jnp.concatenate([slopes, offsets[:, None]], 1).reshape(12, height, width)


def apply_color_transform(
    coefficients: Coefficients,
    tile: UInt[Array, "height width 3"],
    weight: Float[Array, "height width"],
    origin: Float[Array, " 2"],
    size: Float[Array, " 2"],
) -> UInt[Array, "height width 3"]:
    """Changes the colours of one tile of a photo.

    Args:
        coefficients: of the whole photo, at any resolution, as `fit_color_transform` gives them.
        tile: of the photo, RGB, uint8 or uint16 over the type's whole range.
        weight: how many times the change each pixel takes: its mask, in [0, 1], times the strength.
        origin: row and column of the tile in the photo.
        size: the photo's height and width.

    Returns:
        The tile, of the same type; where the weight is 0, it is as it was.
    """
    height, width = weight.shape
    top, row_share = _neighbours(origin[0], height, size[0], coefficients.shape[1])
    left, column_share = _neighbours(origin[1], width, size[1], coefficients.shape[2])
    # By whole rows of planes: XLA:CPU takes 10 times as long to gather 12 values per pixel.
    rows = coefficients[:, top] * (1 - row_share)[:, None]
    rows = rows + coefficients[:, top + 1] * row_share[:, None]
    planes = rows[:, :, left] * (1 - column_share) + rows[:, :, left + 1] * column_share
    full = float(jnp.iinfo(tile.dtype).max)
    channels = [tile[..., k].astype(jnp.float32) for k in range(3)]
    weight = weight * _outside_shadows((channels[0] + channels[1] + channels[2]) / (3 * full))
    changed = []
    for k in range(3):
        change = sum(planes[4 * k + j] * channels[j] for j in range(3))
        change = change + planes[4 * k + 3] * (full / 255)
        changed.append(jnp.clip(channels[k] + weight * change, 0, full))
    return jnp.round(jnp.stack(changed, -1)).astype(tile.dtype)


def _outside_shadows(brightness: Array) -> Array:
    """The share of the change that a pixel takes: from 0 at black to 1 beyond shadows."""
    return jnp.clip(brightness / SHADOWS, 0, 1)


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


def _neighbours(
    start: Float[Array, ""], count: int, side: Float[Array, ""], grid_side: int
) -> tuple[Array, Array]:
    """For a tile's rows (or columns): the grid row before each, and the share of the next."""
    places = (start + jnp.arange(count) + 0.5) * (grid_side / side) - 0.5
    places = jnp.clip(places, 0, grid_side - 1)
    first = jnp.minimum(places.astype(jnp.int32), grid_side - 2)
    return first, places - first
