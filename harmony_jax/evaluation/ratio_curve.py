"""How errors depend on the foreground's share of an image: means of bins, and their curve."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from harmony_jax.evaluation.metrics import ImageMetrics

_MOST_BINS = 12
_LEAST_IN_BIN = 8

# Places in the drawing.
_WIDTH, _HEIGHT = 468, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 60.0, 448.0, 32.0, 268.0


class RatioBin(NamedTuple):
    """Images of neighbouring foreground ratios.

    Attributes:
        images: how many.
        low, high, ratio: smallest, largest and mean foreground ratio.
        means: of `MSE`, `fMSE`, `composite_MSE` and `composite_fMSE`.
    """

    images: int
    low: float
    high: float
    ratio: float
    means: dict[str, float]

    @property
    def range(self) -> str:
        return f"{self.low:.1%} to {self.high:.1%}"


def ratio_bins(per_image: list[ImageMetrics]) -> list[RatioBin]:
    """Bins of equally many images (give or take one), in order of foreground ratio.

    There are at most 12, and fewer where they would hold less than 8 images.
    """
    ordered = sorted(per_image, key=lambda image: image["foreground_ratio"])
    count = max(1, min(_MOST_BINS, len(ordered) // _LEAST_IN_BIN))
    bins = []
    for positions in np.array_split(np.arange(len(ordered)), count):
        members = [ordered[position] for position in positions]
        ratios = [float(member["foreground_ratio"]) for member in members]
        means = {
            key: float(np.mean([member[key] for member in members]))
            for key in ("MSE", "fMSE", "composite_MSE", "composite_fMSE")
        }
        bins.append(RatioBin(len(members), ratios[0], ratios[-1], float(np.mean(ratios)), means))
    return bins


def ratio_curve(bins: list[RatioBin], metric: str) -> str:
    """SVG of the means of MSE or fMSE, of composite and model; both axes are logarithmic."""
    lines = {"composite": f"composite_{metric}", "model": metric}
    x_axis = _LogAxis((bin_.ratio for bin_ in bins), _LEFT, _RIGHT)
    y_axis = _LogAxis((bin_.means[k] for bin_ in bins for k in lines.values()), _BOTTOM, _TOP)
    parts = _grid(x_axis, y_axis, metric)
    for number, (kind, key) in enumerate(lines.items()):
        places = [
            (x_axis.place(bin_.ratio), y_axis.place(bin_.means[key]), bin_)
            for bin_ in bins
            if math.isfinite(bin_.means[key])
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places)
        parts.append(f'<polyline class="{kind}" points="{path}"/>')
        for x, y, bin_ in places:
            text = f"{kind} {bin_.means[key]:.2f}; foreground {bin_.range}; N {bin_.images}"
            parts.append(_marker(kind, x, y, f"<title>{text}</title>"))
        start = _LEFT + 4 + 110 * number
        parts += [
            f'<polyline class="{kind}" points="{start},12 {start + 24},12"/>',
            _marker(kind, start + 12, 12.0),
            f'<text x="{start + 30}" y="16">{kind}</text>',
        ]
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{metric} of composite and '
        f'model against foreground ratio">\n' + "\n".join(parts) + "\n</svg>"
    )


class _LogAxis:
    """Maps positive numbers to places; its ends are 1, 2 or 5 times a power of ten."""

    def __init__(self, values: Iterable[float], start: float, end: float):
        positive = [value for value in values if 0 < value < math.inf] or [1.0]
        powers = range(
            math.floor(math.log10(min(positive))) - 1, math.ceil(math.log10(max(positive))) + 2
        )
        steps = [float(f"{mantissa}e{power}") for power in powers for mantissa in (1, 2, 5)]
        self._low = max(step for step in steps if step <= min(positive))
        self._high = min(step for step in steps if step >= max(positive) and step > self._low)
        self._start, self._end = start, end
        inside = [step for step in steps if self._low <= step <= self._high]
        whole = [float(f"1e{power}") for power in powers]
        self.ticks = inside if len(inside) <= 10 else [step for step in inside if step in whole]

    def place(self, value: float) -> float:
        """Values beyond the ends, such as 0, are put at the ends."""
        clamped = min(max(value, self._low), self._high)
        share = math.log(clamped / self._low) / math.log(self._high / self._low)
        return self._start + share * (self._end - self._start)


def _grid(x_axis: _LogAxis, y_axis: _LogAxis, metric: str) -> list[str]:
    parts = []
    for tick in y_axis.ticks:
        y = y_axis.place(tick)
        parts += [
            f'<line class="grid" x1="{_LEFT}" x2="{_RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>',
            f'<text class="end" x="{_LEFT - 6}" y="{y + 4:.1f}">{tick:g}</text>',
        ]
    for tick in x_axis.ticks:
        x = x_axis.place(tick)
        parts += [
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_BOTTOM}"/>',
            f'<text class="middle" x="{x:.1f}" y="{_BOTTOM + 18}">{100 * tick:g}%</text>',
        ]
    center, middle = (_LEFT + _RIGHT) / 2, (_TOP + _BOTTOM) / 2
    return [
        *parts,
        f'<text class="middle" x="{center}" y="{_HEIGHT - 8}">foreground ratio (log scale)</text>',
        f'<text class="middle" transform="translate(13 {middle}) rotate(-90)">'
        f"{metric} (log scale)</text>",
    ]


def _marker(kind: str, x: float, y: float, inside: str = "") -> str:
    if kind == "model":
        return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4">{inside}</circle>'
    corner = f'x="{x - 3.5:.1f}" y="{y - 3.5:.1f}"'
    return f'<rect class="{kind}" {corner} width="7" height="7">{inside}</rect>'
