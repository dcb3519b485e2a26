"""Two evaluations compared image by image."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from harmony_jax.data.lists import read_lines
from harmony_jax.errors import InputError
from harmony_jax.evaluation.metrics import METRICS, ImageMetrics

IMAGES = "evaluation_images.csv"  # of a workdir

_TEXTS = ("subset", "name")
_HOW = ("image_size", "resize", "longest_side", "flip")  # fields of `evaluation`
_RESAMPLES = 10_000
_BATCH = 250  # resamples at once, to bound memory


class Difference(NamedTuple):
    """Means of one metric over the images of a group, and of the paired difference B - A.

    Attributes:
        low, high: 95 % confidence interval of the mean difference, bootstrapped over images; NaN
            of a single image, which says nothing about others.
    """

    group: str
    metric: str
    images: int
    a: float
    b: float
    difference: float
    low: float
    high: float

    @property
    def is_sure(self) -> bool:
        """Whether the difference is more than chance: the interval does not hold 0."""
        return self.low > 0 or self.high < 0


def read_image_metrics(path: Path) -> list[ImageMetrics]:
    """Reads what an evaluation wrote: a workdir, or one of its `*_images.csv`."""
    file = path / IMAGES if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"{file}: not found: evaluate this run first (main.py --mode=evaluate)")
    rows = list(csv.DictReader(read_lines(file)))
    if not rows:
        raise InputError(f"{file}: holds no image: evaluate this run again")
    try:
        return [
            {key: text if key in _TEXTS else float(text) for key, text in row.items()}
            for row in rows
        ]
    except (TypeError, ValueError) as error:
        raise InputError(f"{file}: damaged ({error}): evaluate this run again") from error


def evaluated_how(path: Path) -> dict[str, Any] | None:
    """The size and so on of what `read_image_metrics` reads; None if nothing beside it says so."""
    images = path / IMAGES if path.is_dir() else path
    file = images.with_name(images.name.removesuffix("_images.csv") + ".json")
    try:
        found = json.loads(file.read_bytes())["evaluation"]
        return {name: found[name] for name in _HOW}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def check_alike(a: Path, b: Path) -> None:
    """Raises InputError if two results say that they were evaluated differently."""
    first, second = evaluated_how(a), evaluated_how(b)
    if first is None or second is None:
        return
    for name, value in first.items():
        if value != second[name]:
            raise InputError(
                f"evaluation.{name} is {value!r} in {a} and {second[name]!r} in {b}: evaluate both "
                "alike"
            )


def pair_images(
    a: Sequence[ImageMetrics], b: Sequence[ImageMetrics], labels: tuple[str, str] = ("A", "B")
) -> list[tuple[ImageMetrics, ImageMetrics]]:
    """Records of the same images, in the order of the first; one without the other is an error."""
    others = {(image["subset"], image["name"]): image for image in b}
    keys = [(image["subset"], image["name"]) for image in a]
    alone = [(key, labels[0]) for key in keys if key not in others]
    alone += [(key, labels[1]) for key in others if key not in set(keys)]
    if alone:
        (subset, name), label = alone[0]
        raise InputError(
            f"{subset}/{name} is in {label} only ({len(alone)} images are in one of the two): "
            "evaluate both on the same images"
        )
    return [(image, others[key]) for key, image in zip(keys, a, strict=True)]


def compare(pairs: Sequence[tuple[ImageMetrics, ImageMetrics]], seed: int = 0) -> list[Difference]:
    """Differences by subset and over all, for every metric that both of each pair have."""
    subsets = sorted({a["subset"] for a, _ in pairs})
    groups = {subset: [pair for pair in pairs if pair[0]["subset"] == subset] for subset in subsets}
    groups["All"] = list(pairs)
    metrics = [metric for metric in METRICS if all(metric in image for image in pairs[0])]
    found = []
    for group, members in groups.items():
        for metric in metrics:
            values = np.array([(a[metric], b[metric]) for a, b in members])
            difference = values[:, 1] - values[:, 0]
            mean_a, mean_b = values.mean(0).tolist()
            interval = _interval(difference, seed)
            mean = float(difference.mean())
            found.append(Difference(group, metric, len(members), mean_a, mean_b, mean, *interval))
    return found


def _interval(differences: np.ndarray, seed: int) -> tuple[float, float]:
    if len(differences) < 2:
        return np.nan, np.nan
    # Percentiles, because the default (BCa) has no interval where no image differs.
    found = stats.bootstrap(
        (differences,),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=_BATCH,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)
