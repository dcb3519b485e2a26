"""How composites are made: shares and strengths of what is done to an object."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ml_collections import ConfigDict

from harmony_jax.errors import InputError

# Ways to recolour; `Parameters.kind` is an index into them.
KINDS = ("reinhard", "linear", "histogram", "retouch", "unchanged")
TRANSFERS = KINDS[:3]  # these take the colours of an object in another photo

_RANGES = ("strength", "distance")
_AT_MOST_1 = ("strength", "light_share", "polygon_share", "edge_share")


@dataclass(frozen=True)
class Recipe:
    """The config's `data.composites`; configs/base.py explains each field and its unit.

    HCOCO was made by transferring colours between objects (Cong et al., CVPR 2020, after Lalonde
    and Efros, 2007), HFlickr and HAdobe5k by retouching. DIH was trained on composites of both
    kinds (Tsai et al., CVPR 2017; section 4.1 of the paper).
    """

    reinhard: float
    linear: float
    histogram: float
    retouch: float
    unchanged: float
    strength: tuple[float, float]
    distance: tuple[float, float]
    exposure: float
    white_balance: float
    contrast: float
    saturation: float
    gamma: float
    hue: float
    light_share: float
    light: float
    polygon_share: float
    edge_share: float
    edge_shift: float
    edge_width: float

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            numbers = value if isinstance(value, tuple) else (value,)
            expected = "at most 1" if name in _AT_MOST_1 and max(numbers) > 1 else ""
            if name in _RANGES and (len(numbers) != 2 or numbers[0] > numbers[1]):
                expected = "two numbers, the smaller one first"
            if not all(0 <= number < math.inf for number in numbers):
                expected = "0 or more"
            if expected:
                raise InputError(f"data.composites.{name} {value}: expected {expected}")
        if not sum(self.shares):
            raise InputError(f"data.composites: {', '.join(KINDS)} are all 0: give one a share")

    @property
    def shares(self) -> tuple[float, ...]:
        """The shares of `KINDS`; their sum need not be 1."""
        return tuple(getattr(self, name) for name in KINDS)

    @property
    def transfers(self) -> bool:
        """Whether objects take colours of other photos."""
        return any(getattr(self, name) for name in TRANSFERS)

    @classmethod
    def of(cls, section: ConfigDict | Mapping[str, Any]) -> "Recipe":
        """The recipe of a config's section, or of as many values by name."""
        return cls(**{field.name: _plain(field.name, section[field.name]) for field in fields(cls)})


def _plain(name: str, value: Any) -> Any:
    try:
        return tuple(map(float, value)) if isinstance(value, (tuple, list)) else float(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"data.composites.{name} {value!r}: expected numbers") from error
