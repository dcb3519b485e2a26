import base64
import html
import json
import re
import shutil
import subprocess

import cv2
import numpy as np
import pytest

from harmony_jax.errors import InputError
from harmony_jax.evaluation.html_report import (
    Shown,
    choose_shown,
    error_map,
    write_html_report,
)
from harmony_jax.evaluation.picture_sheet import Pictures
from harmony_jax.evaluation.ratio_curve import ratio_bins, ratio_curve
from harmony_jax.evaluation.tables import TextTable

MALICIOUS = "</script><script>alert('1')</script><img src=x onerror=\"alert(2)\">&{{cards}}"


def record(subset="HCOCO", name="a.jpg", ratio=0.1, fmse=100.0, **others):
    return {
        **{"subset": subset, "name": name, "foreground_ratio": ratio},
        **{"MSE": fmse / 10, "fMSE": fmse, "PSNR": 30.5, "SSIM": 0.975},
        **{"composite_MSE": 80.0, "composite_fMSE": 800.0},
        **{"composite_PSNR": 20.5, "composite_SSIM": 0.875},
        **others,
    }


def made_pictures(height=20, width=30, blend_mask=True, seed=0):
    rng = np.random.default_rng(seed)
    composite, real = (rng.integers(0, 256, (height, width, 3), np.uint8) for _ in range(2))
    mask = np.zeros((height, width), np.uint8)
    mask[5:15, 5:15] = 255
    blend = mask / np.float32(255) if blend_mask else None
    return Pictures(composite, mask, blend, (composite / 2 + real / 2).astype(np.float32), real)


def written(path, records, shown=None, pictures=None, title="A title", tables=()):
    images = {index: Shown(labels, pictures[index]) for index, labels in (shown or {}).items()}
    write_html_report(path, title, records, images, [TextTable(*table) for table in tables])
    return path.read_text(encoding="utf-8")


def embedded(page):
    return json.loads(re.search(r'id="image-metrics">(.*?)</script>', page, re.DOTALL)[1])


def decoded(uri):
    data = base64.b64decode(uri.split("base64,")[1])
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def test_shown_are_best_median_and_worst_of_every_group():
    records = [
        record("HFlickr", ratio=0.02, fmse=50),
        record("HCOCO", ratio=0.3, fmse=10),
        record("HCOCO", ratio=0.5, fmse=30),
        record("HCOCO", ratio=0.02, fmse=20),
    ]
    assert choose_shown(records) == {
        0: ["HFlickr: best", "HFlickr: median", "HFlickr: worst", "All: worst", "All 0%-5%: worst"],
        1: ["HCOCO: best", "All: best", "All 15%-100%: best", "All 15%-100%: median"],
        2: ["HCOCO: worst", "All 15%-100%: worst"],
        3: ["HCOCO: median", "All: median", "All 0%-5%: best", "All 0%-5%: median"],
    }
    ties = choose_shown([record(ratio=0.3, fmse=fmse) for fmse in (7, float("nan"), 5, 5, 5)])
    labels = {i: [kind.partition(": ")[2] for kind in kinds] for i, kinds in ties.items()}
    assert labels == {1: ["worst"] * 3, 2: ["best"] * 3, 4: ["median"] * 3}
    assert choose_shown([]) == {}
    border = choose_shown([record(ratio=0.05)])[0]
    assert {label.split(":")[0] for label in border} == {
        *("HCOCO", "All", "All 0%-5%", "All 5%-15%")
    }


def test_bins_hold_equally_many_images_in_order_of_ratio():
    ratios = np.random.default_rng(0).permutation(np.arange(1, 18)) / 100
    records = [record(ratio=ratio, fmse=1000 * ratio) for ratio in ratios]
    first, second = ratio_bins(records)
    assert (first.images, first.low, first.high) == (9, 0.01, 0.09)
    assert (second.images, second.low, second.high) == (8, 0.1, 0.17)
    assert first.ratio == pytest.approx(0.05)
    assert first.means["fMSE"] == pytest.approx(50)
    assert second.means["MSE"] == pytest.approx(13.5)
    assert second.means["composite_fMSE"] == 800
    assert [bin_.images for bin_ in ratio_bins(records[:3])] == [3]
    assert len(ratio_bins(records * 100)) == 12


def test_curve_has_a_point_for_every_bin_and_kind():
    records = [record(ratio=0.01 * (i + 1), fmse=10.0 ** (i // 8 + 1)) for i in range(24)]
    svg = ratio_curve(ratio_bins(records), "fMSE")
    points = re.findall(r'<(circle|rect)[^>]*c?[xy]="[^>]*><title>(.*?)</title>', svg)
    assert [kind for kind, _ in points] == ["rect"] * 3 + ["circle"] * 3
    assert points[0][1] == "composite 800.00; foreground 1.0% to 8.0%; N 8"
    assert points[-1][1] == "model 1000.00; foreground 17.0% to 24.0%; N 8"
    heights = [float(y) for y in re.findall(r'<circle[^>]*cy="([\d.]+)"[^>]*><title>', svg)]
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=0.11)
    assert heights[0] > heights[1]


@pytest.mark.parametrize("fmse", [0.0, 1e-9, 2.5e7, float("nan"), float("inf")])
def test_curve_of_extreme_values_can_be_drawn(fmse):
    records = [record(ratio=0.0, fmse=fmse, composite_MSE=0.0, composite_fMSE=0.0)]
    for metric in ("MSE", "fMSE"):
        svg = ratio_curve(ratio_bins(records), metric)
        assert not re.search(r'="[^"]*(nan|inf)[^"]*"', svg)


def test_error_map_is_the_amplified_mean_difference():
    real = np.full((1, 3, 3), 100, np.uint8)
    prediction = np.array([[[103, 97, 100], [400, 100, 100], [100, 100, 100]]], np.float32)
    np.testing.assert_array_equal(error_map(prediction, real), [[10, 255, 0]])
    np.testing.assert_array_equal(error_map(real, prediction.clip(0, 255)), [[10, 255, 0]])


def test_embedded_records_equal_the_given_ones(tmp_path):
    records = [record(name="é 😀.jpg", fmse=1 / 3), record(name=MALICIOUS, ratio=0.1 + 0.2)]
    assert embedded(written(tmp_path / "report.html", records)) == records
    unusual = [record(fmse=float("nan"), PSNR=float("inf"), SSIM=np.float32(0.5), name="\udcff")]
    (row,) = embedded(written(tmp_path / "report.html", unusual))
    assert (row["fMSE"], row["PSNR"], row["SSIM"], row["name"]) == (None, None, 0.5, "\udcff")


def test_everything_from_data_is_escaped(tmp_path):
    page = written(
        tmp_path / "r.html",
        [record(subset=MALICIOUS, name=MALICIOUS)],
        {0: [MALICIOUS]},
        {0: made_pictures()},
        title=MALICIOUS,
        tables=[(MALICIOUS, [MALICIOUS, "N"], [[MALICIOUS, "1"]])],
    )
    assert page.count("<script") == 2
    assert MALICIOUS not in page
    escaped = html.escape(MALICIOUS)
    for tag in ("title", "h1", "caption", "h3", "li", "td"):
        assert f"<{tag}>{escaped}</{tag}>" in page
    assert html.escape(json.dumps([MALICIOUS])) in page  # labels of a card


def test_page_needs_nothing_from_outside(tmp_path):
    table = ("Means", ["group", "MSE"], [["All", "1,234.50"], ["All 0%-5%", "-12.0%"]])
    page = written(
        tmp_path / "r.html", [record()], {0: ["x"]}, {0: made_pictures()}, tables=[table]
    )
    assert not re.search(r'https?://|@import|<link|(src|href)="(?!data:)', page)
    assert "{{" not in page
    assert '<td>All</td><td class="number">1,234.50</td>' in page  # numbers are aligned


def test_cards_show_all_pictures_and_numbers(tmp_path):
    pictures = {1: made_pictures(), 0: made_pictures(900, 600, blend_mask=False, seed=1)}
    records = [record(name="a.jpg"), record(name="b.jpg", fmse=1600.0)]
    page = written(tmp_path / "r.html", records, {0: ["x", "y"], 1: ["z"]}, pictures)
    first, second = page.split("<article ")[1:]
    views = [
        {view: decoded(uri) for view, uri in re.findall(r'data-view="(.*?)" src="(.*?)"', part)}
        for part in (first, second)
    ]
    assert list(views[0]) == ["composite", "mask", "harmonized", "real", "error"]
    assert list(views[1]) == ["composite", "mask", "blend mask", "harmonized", "real", "error"]
    assert {view.shape[:2] for view in views[0].values()} == {(512, 341)}
    assert {view.shape[:2] for view in views[1].values()} == {(20, 30)}
    np.testing.assert_array_equal(views[1]["mask"], pictures[1].mask)
    assert "improvement 87.5%" in first
    assert "improvement -100.0%" in second
    cells = re.findall("<td.*?>(.*?)</td>", first.split("</article>")[0])
    assert cells == [
        *("composite", "80.00", "800.00", "20.50", "0.8750"),
        *("harmonized", "10.00", "100.00", "30.50", "0.9750"),
    ]


def test_no_records_are_an_error(tmp_path):
    with pytest.raises(InputError, match="no image to report"):
        written(tmp_path / "r.html", [])
    assert not list(tmp_path.iterdir())


CHECKS = """
const q = (s) => document.querySelector(s), all = (s) => [...document.querySelectorAll(s)];
const set = (s, value, kind) => { q(s).value = value; q(s).dispatchEvent(new Event(kind)); };
const cards = () => all("#cards article").filter((c) => !c.hidden).map((c) => +c.dataset.index);
const column = (n) => all(`#images tbody td:nth-child(${n})`).map((cell) => cell.textContent);
const heading = (n) => q(`#images th:nth-child(${n}) button`);
const found = { start: cards() };
set("#order", "1", "change"); found.ascending = cards();
set("#sort", "improvement", "change"); found.improvement = cards();
set("#subset", "HFlickr", "change"); found.subset = cards();
set("#subset", "", "change"); set("#label", "odd", "change"); found.label = cards();
found.options = [...q("#label").options].map((option) => option.value);
q("#images a").click(); found.link = cards();
set(".compare input", "30", "input");
found.share = getComputedStyle(q(".compare .before")).clipPath;
found.sources = ["before", "after"].map((side, i) => q(`.${side}`).src ===
  q(`.${side}`).closest("article").querySelector(
    `[data-view="${["composite", "harmonized"][i]}"]`).src);
found.rows = column(2).length; found.status = q("#rows-shown").textContent;
heading(5).click(); found.fmse = column(5).slice(0, 3);
heading(5).click(); found.fmseDown = column(5).slice(0, 3);
found.sorted = q("#images th:nth-child(5)").getAttribute("aria-sort");
q("#next").click(); q("#next").click();
found.last = [q("#rows-shown").textContent, column(5).at(-1)];
found.disabled = [q("#previous").disabled, q("#next").disabled];
set("#search", "hflickr", "input"); found.search = q("#rows-shown").textContent;
found.malicious = [all("script").length, all("[onerror]").length, q("h3").textContent];
document.body.innerHTML = "";
document.body.dataset.found = JSON.stringify(found);
"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs the browser chromium")
def test_page_works_in_a_browser(tmp_path):
    records = [record("HCOCO", f"{i}.jpg", fmse=float(i * 37 % 250)) for i in range(249)]
    records.append(record("HFlickr", MALICIOUS, fmse=float("nan")))
    records[2]["composite_fMSE"] = 75.0
    # fMSE of 0, 2, 4: 0, 74, 148; improvement: 1, 0.01, 0.8.
    shown = {0: ["even"], 2: ["even", "10"], 4: ["odd", "9"], 249: ["odd"]}
    page = written(tmp_path / "r.html", records, shown, {i: made_pictures() for i in shown})
    tested = tmp_path / "tested.html"
    tested.write_text(page.replace("</body>", f"<script>{CHECKS}</script></body>"))
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'u'}"]
    run = subprocess.run(
        ["chromium", *options, "--virtual-time-budget=5000", "--dump-dom", tested.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = json.loads(html.unescape(re.search('data-found="(.*?)"', run.stdout)[1]))
    assert found["start"] == [4, 2, 0, 249]
    assert found["ascending"] == [0, 2, 4, 249]
    assert found["improvement"] == [2, 4, 0, 249]
    assert found["subset"] == [249]
    assert found["label"] == [4, 249]
    assert found["options"] == ["", "9", "10", "even", "odd"]
    assert found["link"] == [2, 4, 0, 249]
    assert found["share"] == "inset(0px 70% 0px 0px)"
    assert found["sources"] == [True, True]
    assert (found["rows"], found["status"]) == (100, "1 to 100 of 250")
    assert found["fmse"] == ["0.00", "1.00", "2.00"]
    assert (found["fmseDown"], found["sorted"]) == (["249.00", "248.00", "247.00"], "descending")
    assert found["last"] == ["201 to 250 of 250", "-"]
    assert found["disabled"] == [False, True]
    assert found["search"] == "1 to 1 of 1"
    assert found["malicious"] == [3, 0, "2.jpg"]
