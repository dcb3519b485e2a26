"""An evaluation as one HTML file: tables, curves, chosen images, and the numbers of every image."""

import base64
import importlib.resources
import json
import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from harmony_jax.data.codecs import encode_jpeg, encode_mask
from harmony_jax.data.resizing import limited
from harmony_jax.disk import encoded, write_file
from harmony_jax.errors import InputError
from harmony_jax.evaluation.metrics import METRICS, ImageMetrics, image_groups, range_name
from harmony_jax.evaluation.picture_sheet import Pictures, to_levels, to_rgb
from harmony_jax.evaluation.ratio_curve import RatioBin, ratio_bins, ratio_curve
from harmony_jax.evaluation.tables import TextTable

# Differences of 255 / 5 = 51 levels and more have the error map's brightest colour.
ERROR_AMPLIFICATION = 5

_LONGEST_SIDE = 512
_JPEG_QUALITY = 90
_ERROR_COLORS = cv2.COLORMAP_INFERNO
_NUMBER = re.compile(r"([+-]?[\d.,]+ ?%?|-)?")


class Shown(NamedTuple):
    """An image that the report shows with its pictures, and why: "HCOCO: best", "all: median"."""

    labels: list[str]
    pictures: Pictures


def choose_shown(per_image: list[ImageMetrics]) -> dict[int, list[str]]:
    """Best, median and worst image of every subset and of every range of foreground ratios.

    Args:
        per_image: as `write_html_report` takes; ranked by the model's fMSE, then by index.

    Returns:
        Indices in ascending order, each with labels such as "HCOCO: best" or "All 0%-5%: median".
    """
    shown: dict[int, list[str]] = {}
    for name, members in image_groups(per_image).items():
        if name == range_name(0.0, 1.0):  # the same as All
            continue
        ranked = sorted(
            members, key=lambda i: (math.isnan(per_image[i]["fMSE"]), per_image[i]["fMSE"], i)
        )
        last = len(ranked) - 1
        for kind, place in {"best": 0, "median": last // 2, "worst": last}.items():
            shown.setdefault(ranked[place], []).append(f"{name}: {kind}")
    return dict(sorted(shown.items()))


def error_map(prediction: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Absolute difference of RGB in [0, 255], averaged over channels, times ERROR_AMPLIFICATION.

    Returns:
        uint8 [height, width]; the prediction is clamped to [0, 255] first, as the metrics do.
    """
    difference = np.abs(np.clip(prediction.astype(np.float32), 0, 255) - real).mean(-1)
    return to_levels(ERROR_AMPLIFICATION * difference)


def write_html_report(
    path: Path,
    title: str,
    per_image: list[ImageMetrics],
    shown: Mapping[int, Shown],
    tables: Sequence[TextTable],
) -> None:
    """Writes a report that needs no other file and no network.

    Args:
        shown: images shown with pictures, by index into `per_image`; labelled by `choose_shown`.
        tables: printed at the top.
    """
    if not per_image:
        raise InputError(f"{path}: no image to report: evaluate at least one")
    bins = ratio_bins(per_image)
    scale = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], _ERROR_COLORS)
    parts = {
        "title": escape(title),
        "tables": "\n".join(_table(*table) for table in tables),
        "curves": "\n".join(ratio_curve(bins, metric) for metric in ("MSE", "fMSE")),
        "bins": _bin_table(bins),
        "cards": "\n".join(
            _card(index, per_image[index], *image) for index, image in shown.items()
        ),
        "images": _json(per_image),
        "metrics": json.dumps(METRICS),
        "sort_options": "\n".join(
            f"<option{' selected' * (name == 'fMSE')}>{name}</option>" for name in METRICS
        ),
        "amplification": f"{ERROR_AMPLIFICATION}",
        "brightest": f"{255 / ERROR_AMPLIFICATION:g}",
        "error_scale": _data_uri("png", cv2.imencode(".png", scale)[1].tobytes()),
    }
    template = importlib.resources.files("harmony_jax.evaluation") / "html_report_template.html"
    page = re.sub(
        r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template.read_text(encoding="utf-8")
    )
    write_file(path, encoded(page))


def _json(per_image: list[ImageMetrics]) -> str:
    """JSON that cannot end the script element it stands in; what is not finite becomes null."""
    plain = [{key: _plain(value) for key, value in image.items()} for image in per_image]
    return json.dumps(plain, separators=(",", ":")).replace("<", "\\u003c")


def _plain(value: Any) -> str | float | None:
    if isinstance(value, str):
        return value
    return float(value) if math.isfinite(value) else None


def _table(caption: str, header: list[str], rows: list[list[str]]) -> str:
    """A table whose columns of numbers are aligned to the right."""
    columns = [[row[i] for row in rows] for i in range(len(header))]
    kinds = [' class="number"' if all(map(_NUMBER.fullmatch, c)) else "" for c in columns]

    def line(tag: str, scope: str, cells: list[str]) -> str:
        pairs = zip(cells, kinds, strict=True)
        inside = (f"<{tag}{scope}{kind}>{escape(cell)}</{tag}>" for cell, kind in pairs)
        return f"<tr>{''.join(inside)}</tr>"

    head, body = line("th", ' scope="col"', header), "\n".join(line("td", "", row) for row in rows)
    above = f"<caption>{escape(caption)}</caption>" if caption else ""
    table = f"<table>{above}<thead>{head}</thead>\n<tbody>{body}</tbody></table>"
    return f'<div class="wide">{table}</div>'


def _bin_table(bins: list[RatioBin]) -> str:
    keys = ("composite_MSE", "MSE", "composite_fMSE", "fMSE")
    header = ["foreground", "N", "composite MSE", "model MSE", "composite fMSE", "model fMSE"]
    rows = [[b.range, str(b.images), *(_number(b.means[key], ".2f") for key in keys)] for b in bins]
    return _table("", header, rows)


def _card(index: int, image: ImageMetrics, labels: list[str], pictures: Pictures) -> str:
    error = limited(error_map(pictures.prediction, pictures.real), _LONGEST_SIDE)
    views = {
        "composite": _photo(pictures.composite),
        "mask": _data_uri("png", encode_mask(limited(to_levels(pictures.mask), _LONGEST_SIDE))),
        "blend mask": None if pictures.blend_mask is None else _photo(255 * pictures.blend_mask),
        "harmonized": _photo(pictures.prediction),
        "real": _photo(pictures.real),
        "error": _photo(cv2.applyColorMap(error, _ERROR_COLORS)[..., ::-1]),
    }
    name, subset = escape(str(image["name"])), escape(str(image["subset"]))
    before, after = float(image["composite_fMSE"]), float(image["fMSE"])
    improvement = 1 - after / before if before > 0 else math.nan
    height, width = pictures.mask.shape
    captions = {"error": f"error &times; {ERROR_AMPLIFICATION}"}
    figures = "\n".join(
        f'<figure><img data-view="{view}" src="{uri}" alt="{view} of {name}" width="{width}" '
        f'height="{height}"><figcaption>{captions.get(view, view)}</figcaption></figure>'
        for view, uri in views.items()
        if uri is not None
    )
    chips = "".join(f"<li>{escape(label)}</li>" for label in labels)
    return f"""
<article id="image-{index}" data-index="{index}" data-labels="{escape(json.dumps(labels))}">
<header><h3>{name}</h3><p>{subset}, foreground {_number(float(image["foreground_ratio"]), ".1%")},
improvement {_number(improvement, ".1%")}</p><ul>{chips}</ul></header>
<div class="main">
<div class="compare" style="--ratio: calc({width} / {height})" hidden>
<img class="after" alt=""><img class="before" alt=""><i></i>
<span class="left">composite</span><span class="right">harmonized</span>
<input type="range" min="0" max="100" step="any" value="50"
 aria-label="how much of {name} shows the composite"></div>
{_numbers(image)}
</div>
<div class="views">
{figures}
</div></article>"""


def _numbers(image: ImageMetrics) -> str:
    rows = [
        [name, *(_number(float(image[prefix + key]), f".{n}f") for key, n in METRICS.items())]
        for name, prefix in (("composite", "composite_"), ("harmonized", ""))
    ]
    return _table("", ["", *METRICS], rows)


def _number(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "-"


def _photo(pixels: np.ndarray) -> str:
    return _data_uri("jpeg", encode_jpeg(limited(to_rgb(pixels), _LONGEST_SIDE), _JPEG_QUALITY))


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
