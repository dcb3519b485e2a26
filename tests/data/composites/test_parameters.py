import numpy as np

from harmony_jax.data.composites.parameters import DRAWS, draw_batch, optimal_maps
from harmony_jax.data.composites.recipe import KINDS, Recipe
from tests.data.composites.made_photo import RECIPE, Objects, made_photo

PHOTOS = [made_photo(seed) for seed in range(12)]


def drawn(count: int, objects=None, **changes):
    recipe = Recipe(**{**RECIPE, **changes})
    uniform = np.random.default_rng(0).random((count, DRAWS))
    return draw_batch(recipe, uniform, [3] * count, objects or Objects(PHOTOS))


def only(kind: str) -> dict[str, float]:
    return {name: float(name == kind) for name in KINDS}


def test_kinds_come_in_their_shares():
    shares = dict(zip(KINDS, (3.0, 1.0, 2.0, 3.0, 1.0), strict=True))
    counts = np.bincount(drawn(4000, **shares).kind, minlength=5) / 4000
    np.testing.assert_allclose(counts, np.array([3, 1, 2, 3, 1]) / 10, atol=0.02)


def test_retouching_has_the_deviations_asked_for():
    found = drawn(
        4000,
        **{**only("retouch"), "exposure": 0.8, "white_balance": 0.4, "contrast": 0.3},
        gamma=0.2,
        saturation=0.5,
        hue=10.0,
    )
    red, _, blue = found.exposure.T
    # Cut off at 2.5 deviations, a normal distribution keeps 98 % of its deviation.
    np.testing.assert_allclose(((red + blue) / 2).std(), 0.98 * 0.8, rtol=0.05)
    np.testing.assert_allclose(((red - blue) / 2).std(), 0.98 * 0.4, rtol=0.05)
    np.testing.assert_allclose(np.log2(found.contrast).std(), 0.98 * 0.3, rtol=0.05)
    np.testing.assert_allclose(np.log2(found.gamma).std(), 0.98 * 0.2, rtol=0.05)
    assert np.abs(np.log2(found.contrast)).max() <= 2.5 * 0.3 + 1e-6
    # Grey stays grey; what is perpendicular to it is turned and stretched.
    np.testing.assert_allclose(found.color.sum(-1), 1, atol=1e-5)
    first = found.color @ np.array([2, -1, -1]) / np.sqrt(6)
    np.testing.assert_allclose(np.log2(np.linalg.norm(first, axis=1)).std(), 0.49, rtol=0.05)
    angle = np.arctan2((first @ [0, 1, -1]) / np.sqrt(2), (first @ [2, -1, -1]) / np.sqrt(6))
    np.testing.assert_allclose(np.rad2deg(angle).std(), 9.8, rtol=0.05)


def test_shares_of_light_polygons_and_edges():
    found = drawn(4000, light_share=0.3, polygon_share=0.2, edge_share=0.1, unchanged=0.0)
    for value, share in ((found.light, 0.3), (found.cells, 0.2), (found.edge[:, 1], 0.1)):
        changed = value.reshape(4000, -1).any(1)
        assert abs(changed.mean() - share) < 0.02
    assert not drawn(500, **only("unchanged"), light_share=1.0).light.any()


def test_strengths_are_those_of_transfers_alone():
    found = drawn(2000, strength=(0.3, 0.6))
    transfers = found.kind < KINDS.index("retouch")
    assert (found.strength[~transfers] == 1).all()
    assert 0.3 <= found.strength[transfers].min() < 0.33
    assert 0.57 < found.strength[transfers].max() <= 0.6


def test_a_reference_is_far_enough_and_not_too_far():
    objects = Objects(PHOTOS)
    own = objects.statistics(3)
    gaps = [np.linalg.norm(objects.statistics(i).lab_mean - own.lab_mean) for i in range(12)]
    low, high = np.quantile([gap for gap in gaps if gap], [0.3, 0.6])
    found = drawn(200, objects, **only("reinhard"), distance=(low, high))
    # The mean that the object comes to.
    target = found.lab_offset + found.lab_gain * own.lab_mean
    distance = np.linalg.norm(target - own.lab_mean, axis=1)
    inside = (distance > low - 1e-3) & (distance < high + 1e-3)
    assert inside.mean() > 0.9  # eight tries may find none
    assert len(np.unique(distance.round(3))) > 2


def test_an_unreadable_reference_is_passed_over():
    readable = {3, 5}
    objects = Objects(PHOTOS, unreadable=set(range(12)) - readable)
    found = drawn(300, objects, **only("linear"))
    own, other = objects.statistics(3), objects.statistics(5)
    took = found.kind == KINDS.index("linear")
    assert took.any()
    ends = found.offset + np.einsum("nij,j->ni", found.matrix, own.mean)
    np.testing.assert_allclose(ends[took], np.broadcast_to(other.mean, ends[took].shape), atol=1e-4)
    assert (found.kind[~took] == KINDS.index("retouch")).all()  # where none could be read


def test_others_are_read_only_where_their_colours_are_wanted():
    objects = Objects(PHOTOS)
    drawn(50, objects, **only("retouch"))
    assert set(objects.asked) == {3}


def test_optimal_maps_turn_one_covariance_into_the_other():
    rng = np.random.default_rng(0)
    base_, other = (np.eye(3) + 0.1 * rng.normal(size=(4, 3, 3)) for _ in range(2))
    source, target = (x @ np.swapaxes(x, 1, 2) for x in (base_, other))
    maps = optimal_maps(source, target)
    np.testing.assert_allclose(maps @ source @ maps, target, rtol=1e-4, atol=1e-6)
    # The one that moves colours the least is symmetric and positive.
    np.testing.assert_allclose(maps, np.swapaxes(maps, 1, 2), atol=1e-9)
    assert np.linalg.eigvalsh(maps).min() > 0
    assert np.linalg.eigvalsh(optimal_maps(source, 100 * target)).max() <= 2.5 + 1e-6
