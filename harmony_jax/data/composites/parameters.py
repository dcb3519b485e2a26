"""What is done to each object, drawn at random: the small numbers that a composite follows from."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from scipy.special import ndtr, ndtri

from harmony_jax.data.composites.recipe import KINDS, TRANSFERS, Recipe
from harmony_jax.data.composites.statistics import Statistics, stacked
from harmony_jax.errors import InputError

# Uniform numbers that a composite takes: first those that choose the other object.
CANDIDATES = 8
DRAWS = 32

_LIMIT = 2.5  # standard deviations; what lies beyond is cut off
_GAINS = (0.5, 2.0)  # of Lab deviations, in Reinhard's transfer
_STRETCH = (0.4, 2.5)  # along each axis, of the linear map
_CELLS = (10.0, 28.0)  # a side of the picture, for the corners of coarse polygons
# A mask's edge is moved where a blur by so many pixels passes a threshold.
EDGE_BLUR = 2.0
_MAX_SHIFT = 1.5 * EDGE_BLUR  # pixels; further out a blurred edge is flat


class Parameters(NamedTuple):
    """What makes composites of photos, float32; batches have one more axis in front."""

    kind: np.ndarray  # int32, of `KINDS`
    reference: np.ndarray  # int32, number of the object that lends its colours; -1: none does
    strength: np.ndarray  # share of the way to the new colours
    lab_gain: np.ndarray  # [3], reinhard: Lab times this ...
    lab_offset: np.ndarray  # [3], ... plus this
    matrix: np.ndarray  # [3, 3], linear: this times RGB in [0, 1] ...
    offset: np.ndarray  # [3], ... plus this
    quantiles: np.ndarray  # [3, QUANTILES], histogram: these RGB values ...
    targets: np.ndarray  # [3, QUANTILES], ... become these
    exposure: np.ndarray  # [3], retouch: stops of linear R, G and B,
    contrast: np.ndarray  # factor around
    pivot: np.ndarray  # the object's mean,
    color: np.ndarray  # [3, 3], saturation and hue, times RGB,
    gamma: np.ndarray  # and exponent
    light: np.ndarray  # [2], stops down and to the right, from the object's middle to its side
    cells: np.ndarray  # a side, for the corners of a coarse polygon; 0: none
    edge: np.ndarray  # [2], threshold and gain of the mask's blurred edge; gain 0: as it is


@runtime_checkable
class Objects(Protocol):
    """Whose colours composites take."""

    def __len__(self) -> int: ...

    def statistics(self, index: int, /) -> Statistics:
        """Of one object; raises InputError if it cannot be read."""
        ...


def draw_one(
    recipe: Recipe, uniform: Float[np.ndarray, " draws"], number: int, objects: Objects
) -> Parameters:
    """As `draw_batch`, for one object."""
    drawn = draw_batch(recipe, uniform[None], [number], objects)
    return Parameters(*(value[0] for value in drawn))


def draw_batch(
    recipe: Recipe,
    uniform: Float[np.ndarray, "batch draws"],
    numbers: Sequence[int],
    objects: Objects,
) -> Parameters:
    """Draws what is done to some of the objects.

    Args:
        recipe: shares and strengths.
        uniform: numbers in [0, 1), `DRAWS` for each.
        numbers: which objects.
        objects: all that may lend their colours.

    Raises:
        InputError: one of the numbers cannot be read.
    """
    references = []
    for draws, kind, number in zip(uniform, _kinds(recipe, uniform), numbers, strict=True):
        # Others are read for those alone that want their colours.
        wants = kind < len(TRANSFERS)
        candidates = (draws[:CANDIDATES] * len(objects)).astype(int).tolist() if wants else []
        references.append(_reference(number, candidates, objects, recipe.distance))
    lenders = [
        number if reference < 0 else reference
        for number, reference in zip(numbers, references, strict=True)
    ]
    source, target = (
        stacked([objects.statistics(number) for number in of]) for of in (numbers, lenders)
    )
    return draw_parameters(recipe, uniform, np.array(references, np.int32), source, target)


def _kinds(recipe: Recipe, uniform: np.ndarray) -> np.ndarray:
    edges = np.cumsum(recipe.shares) / sum(recipe.shares)
    return np.searchsorted(edges[:-1], uniform[:, CANDIDATES], side="right")


def _reference(
    number: int, candidates: list[int], objects: Objects, distance: tuple[float, float]
) -> int:
    """Chooses the object that another one takes the colours of.

    Of the candidates the first whose mean lies so far away in Lab as the range says: less is not
    to be seen, more not credible. Or that which comes nearest to the range; -1 if there is none.
    """
    own = objects.statistics(number)
    nearest, best = -1, np.inf
    for candidate in candidates:
        if candidate == number:
            continue
        try:
            found = objects.statistics(candidate)
        except InputError:  # told when its own turn comes
            continue
        gap = float(np.linalg.norm(found.lab_mean - own.lab_mean))
        outside = max(distance[0] - gap, gap - distance[1])
        if outside <= 0:
            return candidate
        if outside < best:
            nearest, best = candidate, outside
    return nearest


def draw_parameters(
    recipe: Recipe,
    uniform: Float[np.ndarray, "batch draws"],
    reference: Int[np.ndarray, " batch"],
    source: Statistics,
    target: Statistics,
) -> Parameters:
    """Draws what is done to objects.

    Args:
        recipe: shares and strengths.
        uniform: numbers in [0, 1), `DRAWS` an object.
        reference: the objects whose colours they take; where there is none for one that should
            take another's, it is retouched.
        source: the objects' statistics.
        target: those of the references; where there is none, any.
    """
    columns = iter(uniform.T[CANDIDATES + 1 :])

    def below(share: float) -> np.ndarray:
        return next(columns) < share

    def between(low: float, high: float) -> np.ndarray:
        return low + (high - low) * next(columns)

    def normal(deviation: float) -> np.ndarray:
        return deviation * np.clip(ndtri(next(columns)), -_LIMIT, _LIMIT)

    kind = _kinds(recipe, uniform)
    retouch, unchanged = KINDS.index("retouch"), KINDS.index("unchanged")
    kind[(reference < 0) & (kind < len(TRANSFERS))] = retouch
    strength = np.where(kind < retouch, between(*recipe.strength), 1)

    lab_gain = np.clip(target.lab_deviation / source.lab_deviation, *_GAINS)
    matrix = optimal_maps(source.covariance, target.covariance)
    # Each channel's by itself, after what all of them share: blue against red, green against both.
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
    """`Parameters.edge` for edges so many pixels further out, soft over so many; at least one."""
    shift = np.clip(shift, -_MAX_SHIFT, _MAX_SHIFT) / EDGE_BLUR
    slope = np.exp(-(shift**2) / 2) / (EDGE_BLUR * np.sqrt(2 * np.pi))
    return np.stack([ndtr(-shift), 1 / (slope * np.maximum(width, 1))], -1)


def optimal_maps(
    source: Float[np.ndarray, "batch 3 3"], target: Float[np.ndarray, "batch 3 3"]
) -> Float[np.ndarray, "batch 3 3"]:
    """The linear maps that turn one covariance into another and move colours the least.

    The Monge-Kantorovitch map of Pitié and Kokaram (CVMP 2007), its stretch limited.
    """
    root = _power(source.astype(np.float64), 0.5)
    inverse = _power(source.astype(np.float64), -0.5)
    values, vectors = np.linalg.eigh(inverse @ _power(root @ target @ root, 0.5) @ inverse)
    return _rebuilt(np.clip(values, *_STRETCH), vectors)


def _power(matrices: np.ndarray, exponent: float) -> np.ndarray:
    """Of symmetric, positive matrices."""
    values, vectors = np.linalg.eigh(matrices)
    return _rebuilt(np.maximum(values, 1e-12) ** exponent, vectors)


def _rebuilt(values: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return (vectors * values[..., None, :]) @ np.swapaxes(vectors, -1, -2)


def color_matrices(
    saturation: Float[np.ndarray, " batch"], hue: Float[np.ndarray, " batch"]
) -> Float[np.ndarray, "batch 3 3"]:
    """Matrices that turn RGB around the grey axis by `hue` radians and scale its distance to it."""
    grey = np.full((3, 3), 1 / 3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turned = np.cos(hue)[:, None, None] * (np.eye(3) - grey) + np.sin(hue)[:, None, None] * cross
    return grey + saturation[:, None, None] * turned
