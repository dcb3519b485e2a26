"""How composites are made: the shares and strengths of what is done to a photo's object."""

from dataclasses import dataclass, fields
from typing import Any

from ml_collections import ConfigDict

from harmony_jax.errors import InputError

# Ways to recolour, by their number in `Parameters.kind`.
KINDS = ("reinhard", "linear", "histogram", "retouch", "unchanged")
TRANSFERS = KINDS[:3]  # these take the colours of an object in another photo

_SHARES = ("light_share", "polygon_share", "edge_share")  # of all composites, each by itself


@dataclass(frozen=True)
class Recipe:
    """The config's `data.composites` (configs/base.py says each field and its unit).

    HCOCO was made by transferring colours between objects (Cong et al., CVPR 2020, after Lalonde
    and Efros, 2007), HFlickr and HAdobe5k by retouching; the first composites for training a
    network were of both kinds (DIH: Tsai et al., CVPR 2017; the paper, section 4.1).

    Raises:
        InputError: a value that cannot be, by its field's name.
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
        for field in fields(self):
            value = getattr(self, field.name)
            for number in value if isinstance(value, tuple) else (value,):
                if number < 0:
                    _refuse(field.name, value, "0 or more")
        for name in ("strength", "distance"):
            value = getattr(self, name)
            if len(value) != 2 or value[0] > value[1]:
                _refuse(name, value, "two numbers, the smaller one first")
        if self.strength[1] > 1:
            _refuse("strength", self.strength, "at most 1")
        for name in _SHARES:
            if getattr(self, name) > 1:
                _refuse(name, getattr(self, name), "at most 1")
        if not sum(self.shares):
            raise InputError(f"data.composites: {', '.join(KINDS)} are all 0: give one a share")

    @property
    def shares(self) -> tuple[float, ...]:
        """Of the ways to recolour, in the order of `KINDS`; their sum need not be 1."""
        return tuple(getattr(self, name) for name in KINDS)

    @property
    def transfers(self) -> bool:
        """Whether colours of other photos are wanted."""
        return any(getattr(self, name) for name in TRANSFERS)

    @classmethod
    def of(cls, section: ConfigDict) -> "Recipe":
        """The recipe of a config's section."""
        return cls(**{field.name: _plain(section[field.name]) for field in fields(cls)})


def _plain(value: Any) -> Any:
    return tuple(map(float, value)) if isinstance(value, (tuple, list)) else float(value)


def _refuse(name: str, value: Any, expected: str) -> None:
    raise InputError(f"data.composites.{name} {value}: expected {expected}")
