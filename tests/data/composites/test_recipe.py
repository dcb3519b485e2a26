import pytest

from harmony_jax import InputError
from harmony_jax.data.composites.recipe import KINDS, Recipe
from tests.data.composites.made_photo import RECIPE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"retouch": -0.1}, r"data\.composites\.retouch -0\.1"),
        ({"strength": (0.5, 1.2)}, r"strength \(0\.5, 1\.2\): expected at most 1"),
        ({"distance": (9.0, 4.0)}, r"distance \(9\.0, 4\.0\)"),
        ({"edge_share": 2.0}, r"edge_share 2\.0: expected at most 1"),
        (dict.fromkeys(KINDS, 0.0), "reinhard, linear, .* are all 0"),
    ],
)
def test_an_invalid_recipe_is_one_line(changes, message):
    with pytest.raises(InputError, match=message) as error:
        Recipe(**{**RECIPE, **changes})
    assert "\n" not in str(error.value)
