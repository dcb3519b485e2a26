"""Draws at random what is done to each object: the small numbers that a composite follows from."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr, ndtri

from harmony_jax.data.composites.recipe import KINDS, TRANSFERS, Recipe
from harmony_jax.data.composites.statistics import Statistics, stacked
from harmony_jax.errors import InputError

DRAWS = 32  # uniform numbers that a composite takes; the first ones choose the reference object
_CANDIDATES = 8

_LIMIT = 2.5  # standard deviations at which normal distributions are cut off
_GAINS = (0.5, 2.0)  # range of the factor on Lab deviations in Reinhard's transfer
_STRETCH = (0.4, 2.5)  # range along each axis of the linear map
_CELLS = (10.0, 28.0)  # range of the grid's cells a side, for coarse polygons
# A mask's edge is moved by blurring it and thresholding the result.
EDGE_BLUR = 2.0  # pixels
_MAX_SHIFT = 1.5 * EDGE_BLUR  # pixels; further out the blurred edge is flat


class Parameters(NamedTuple):
    """What makes a composite of a photo, float32; a batch has one more axis in front."""

    kind: np.ndarray  # int32, index into `KINDS`
    reference: np.ndarray  # int32, number of the object that lends its colours; -1: none
    strength: np.ndarray  # share of the way to the new colours
    lab_gain: np.ndarray  # [3], reinhard: Lab times this ...
    lab_offset: np.ndarray  # [3], ... plus this
    matrix: np.ndarray  # [3, 3], linear: this times RGB in [0, 1] ...
    offset: np.ndarray  # [3], ... plus this
    quantiles: np.ndarray  # [3, QUANTILES], histogram: these RGB values ...
    targets: np.ndarray  # [3, QUANTILES], ... become these
    exposure: np.ndarray  # [3], retouch: stops of linear R, G and B
    contrast: np.ndarray  # retouch: factor around the pivot
    pivot: np.ndarray  # retouch: the object's mean
    color: np.ndarray  # [3, 3], retouch: saturation and hue, times RGB
    gamma: np.ndarray  # retouch: exponent
    light: np.ndarray  # [2], stops down and to the right, from the object's middle to its side
    cells: np.ndarray  # cells a side of the grid of a coarse polygon; 0: none
    edge: np.ndarray  # [2], threshold and gain of the mask's blurred edge; gain 0: not moved


@runtime_checkable
class Objects(Protocol):
    """The objects that may lend their colours."""

    def __len__(self) -> int: ...

    def statistics(self, index: int, /) -> Statistics:
        """One object's colours; raises InputError if it cannot be read."""
        ...


def draw_one(
    recipe: Recipe, uniform: Float[np.ndarray, " draws"], number: int, objects: Objects
) -> Parameters:
    """Like `draw_batch`, for one object."""
    drawn = draw_batch(recipe, uniform[None], [number], objects)
    return Parameters(*(value[0] for value in drawn))


def draw_batch(
    recipe: Recipe,
    uniform: Float[np.ndarray, "batch draws"],
    numbers: Sequence[int],
    objects: Objects,
) -> Parameters:
    """Draws what is done to the objects of these numbers; any object may lend its colours.

    `uniform` has `DRAWS` numbers in [0, 1) for each.
    """
    kinds = _kinds(recipe, uniform)
    references = []
    for draws, kind, number in zip(uniform, kinds, numbers, strict=True):
        # Other objects are only read where their colours are wanted.
        wants = kind < len(TRANSFERS)
        candidates = (draws[:_CANDIDATES] * len(objects)).astype(int).tolist() if wants else []
        references.append(_reference(number, candidates, objects, recipe.distance))
    lenders = [
        number if reference < 0 else reference
        for number, reference in zip(numbers, references, strict=True)
    ]
    source, target = (
        stacked([objects.statistics(number) for number in of]) for of in (numbers, lenders)
    )
    return _draw(recipe, uniform, kinds, np.array(references, np.int32), source, target)


def _kinds(recipe: Recipe, uniform: np.ndarray) -> np.ndarray:
    edges = np.cumsum(recipe.shares) / sum(recipe.shares)
    return np.searchsorted(edges[:-1], uniform[:, _CANDIDATES], side="right")


def _reference(
    number: int, candidates: list[int], objects: Objects, distance: tuple[float, float]
) -> int:
    """Chooses the object that lends its colours to another one; -1 if there is none.

    Takes the first candidate whose mean lies within the range of distances in Lab (smaller changes
    are invisible, larger ones implausible), or else the one that comes nearest to the range.
    """
    own = objects.statistics(number)
    nearest, best = -1, np.inf
    for candidate in candidates:
        if candidate == number:
            continue
        try:
            found = objects.statistics(candidate)
        except InputError:  # reported when it is this object's own turn
            continue
        gap = float(np.linalg.norm(found.lab_mean - own.lab_mean))
        outside = max(distance[0] - gap, gap - distance[1])
        if outside <= 0:
            return candidate
        if outside < best:
            nearest, best = candidate, outside
    return nearest


def _draw(
    recipe: Recipe,
    uniform: np.ndarray,
    kind: np.ndarray,
    reference: np.ndarray,
    source: Statistics,
    target: Statistics,
) -> Parameters:
    """Draws what is done to objects, given their colours and those of their references.

    An object that should take the colours of another one, but has no reference, is retouched.
    """
    columns = iter(uniform.T[_CANDIDATES + 1 :])

    def below(share: float) -> np.ndarray:
        return next(columns) < share

    def between(low: float, high: float) -> np.ndarray:
        return low + (high - low) * next(columns)

    def normal(deviation: float) -> np.ndarray:
        return deviation * np.clip(ndtri(next(columns)), -_LIMIT, _LIMIT)

    retouch, unchanged = KINDS.index("retouch"), KINDS.index("unchanged")
    kind[(reference < 0) & (kind < len(TRANSFERS))] = retouch
    strength = np.where(kind < retouch, between(*recipe.strength), 1)

    lab_gain = np.clip(target.lab_deviation / source.lab_deviation, *_GAINS)
    matrix = optimal_maps(source.covariance, target.covariance)
    # Exposure moves all channels, white balance red against blue, tint green against both.
    exposure = normal(recipe.exposure)
    warm, tint = normal(recipe.white_balance), normal(recipe.white_balance / 2)
    stops = np.stack([exposure + warm, exposure + tint, exposure - warm], -1)
    amount, angle = normal(recipe.light), between(0.0, 2 * np.pi)
    lit = below(recipe.light_share) & (kind != unchanged)
    light = np.where(lit, amount, 0)[:, None] * np.stack([np.sin(angle), np.cos(angle)], -1)
    contrast, gamma = 2 ** normal(recipe.contrast), 2 ** normal(recipe.gamma)
    color = color_matrices(2 ** normal(recipe.saturation), normal(np.deg2rad(recipe.hue)))
    cells = np.where(below(recipe.polygon_share), between(*_CELLS), 0)
    shift, width = between(-recipe.edge_shift, recipe.edge_shift), between(0.0, recipe.edge_width)
    edge = np.where(below(recipe.edge_share)[:, None], edges(shift, width), [0.5, 0.0])
    made = Parameters(
        kind=kind,
        reference=reference,
        strength=strength,
        lab_gain=lab_gain,
        lab_offset=target.lab_mean - lab_gain * source.lab_mean,
        matrix=matrix,
        offset=target.mean - np.einsum("nij,nj->ni", matrix, source.mean),
        quantiles=source.quantiles,
        targets=target.quantiles,
        exposure=stops,
        contrast=contrast,
        pivot=source.mean.mean(-1),
        color=color,
        gamma=gamma,
        light=light,
        cells=cells,
        edge=edge,
    )
    floats = Parameters(*(np.asarray(value, np.float32) for value in made))
    return floats._replace(kind=kind.astype(np.int32), reference=reference)


def edges(
    shift: Float[np.ndarray, " batch"], width: Float[np.ndarray, " batch"]
) -> Float[np.ndarray, "batch 2"]:
    """`Parameters.edge` for edges `shift` pixels further out and soft over `width` pixels."""
    shift = np.clip(shift, -_MAX_SHIFT, _MAX_SHIFT) / EDGE_BLUR
    slope = np.exp(-(shift**2) / 2) / (EDGE_BLUR * np.sqrt(2 * np.pi))
    return np.stack([ndtr(-shift), 1 / (slope * np.maximum(width, 1))], -1)


def optimal_maps(
    source: Float[np.ndarray, "batch 3 3"], target: Float[np.ndarray, "batch 3 3"]
) -> Float[np.ndarray, "batch 3 3"]:
    """The linear maps that turn one covariance into another and move colours the least.

    This is the Monge-Kantorovitch map of Pitié and Kokaram (CVMP 2007) with limited stretch.
    """
    root = _power(source.astype(np.float64), 0.5)
    inverse = _power(source.astype(np.float64), -0.5)
    values, vectors = np.linalg.eigh(inverse @ _power(root @ target @ root, 0.5) @ inverse)
    return _rebuilt(np.clip(values, *_STRETCH), vectors)


def _power(matrices: np.ndarray, exponent: float) -> np.ndarray:
    """Powers of symmetric positive matrices."""
    values, vectors = np.linalg.eigh(matrices)
    return _rebuilt(np.maximum(values, 1e-12) ** exponent, vectors)


def _rebuilt(values: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return (vectors * values[..., None, :]) @ np.swapaxes(vectors, -1, -2)


def color_matrices(
    saturation: Float[np.ndarray, " batch"], hue: Float[np.ndarray, " batch"]
) -> Float[np.ndarray, "batch 3 3"]:
    """Matrices that turn RGB around the grey axis by `hue` radians and scale their saturation."""
    grey = np.full((3, 3), 1 / 3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turned = np.cos(hue)[:, None, None] * (np.eye(3) - grey) + np.sin(hue)[:, None, None] * cross
    return grey + saturation[:, None, None] * turned
