import csv

import numpy as np
import pytest
from scipy import stats

from harmony_jax import InputError
from harmony_jax.evaluation.comparison import compare, pair_images, read_image_metrics
from harmony_jax.evaluation.files import image_metrics_csv
from tests.commands import failure, run


def test_names_that_are_not_unicode_come_back(tmp_path):
    image = {**records(0, count=1)[0], "name": "caf\udce9.jpg"}
    (tmp_path / "a.csv").write_bytes(image_metrics_csv([image]))
    assert read_image_metrics(tmp_path / "a.csv") == [image | {"name": "caf\\udce9.jpg"}]


def records(seed: int, shift: float = 0.0, count: int = 200) -> list[dict]:
    rng = np.random.default_rng(0)
    noise = np.random.default_rng(seed)
    return [
        {
            "subset": "HCOCO" if i % 4 else "HFlickr",
            "name": f"c{i}_1_1.jpg",
            "foreground_ratio": rng.uniform(),
            "MSE": rng.gamma(2, 10) + noise.normal(0, 1) + shift,
            "fMSE": rng.gamma(2, 100) + noise.normal(0, 1) + shift,
            "PSNR": rng.normal(35, 3),
        }
        for i in range(count)
    ]


def test_the_interval_is_that_of_the_paired_mean():
    pairs = pair_images(records(1), records(2, shift=-0.5))
    found = {(d.group, d.metric): d for d in compare(pairs)}
    differences = np.array([b["MSE"] - a["MSE"] for a, b in pairs])
    mean = found["All", "MSE"]
    assert mean.images == 200
    assert mean.difference == pytest.approx(differences.mean())
    assert mean.b - mean.a == pytest.approx(mean.difference)
    # Of 200 nearly normal differences the bootstrap's interval is the t interval, nearly.
    error = stats.sem(differences)
    low, high = stats.t.interval(0.95, 199, differences.mean(), error)
    assert mean.low == pytest.approx(low, abs=0.15 * error)
    assert mean.high == pytest.approx(high, abs=0.15 * error)
    assert found["HFlickr", "MSE"].images == 50
    assert found["All", "PSNR"].difference == found["All", "PSNR"].low == 0
    assert ("All", "SSIM") not in found


def test_a_single_image_has_no_interval():
    found = compare(pair_images(records(1)[:1], records(2)[:1]))
    assert all(np.isnan(d.low) and np.isnan(d.high) and not d.is_sure for d in found)


def test_what_was_written_is_read_back(tmp_path):
    found = records(1)
    (tmp_path / "evaluation_images.csv").write_bytes(image_metrics_csv(found))
    assert read_image_metrics(tmp_path) == found
    assert read_image_metrics(tmp_path / "evaluation_images.csv") == found


def test_images_of_one_run_only():
    with pytest.raises(InputError, match=r"HFlickr/c0_1_1.jpg is in B only \(1 images"):
        pair_images(records(1)[1:], records(2))
    with pytest.raises(InputError, match=r"is in A only \(3 images"):
        pair_images(records(1), records(2)[3:])


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"evaluation_images\.csv: not found"):
        read_image_metrics(tmp_path)
    (tmp_path / "a.csv").write_text("subset,name,MSE\n")
    with pytest.raises(InputError, match=r"a\.csv: holds no image"):
        read_image_metrics(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("subset,name,MSE\nHCOCO,a.jpg,x\n")
    with pytest.raises(InputError, match=r"a\.csv: damaged"):
        read_image_metrics(tmp_path / "a.csv")


def test_the_command(tmp_path):
    before, after = records(1, count=20), records(2, count=20)
    after[7]["fMSE"], after[9]["fMSE"] = before[7]["fMSE"] - 90, before[9]["fMSE"] + 90
    for name, found in (("a", before), ("b", after)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "evaluation_images.csv").write_bytes(image_metrics_csv(found))
    script = "scripts/compare_runs.py"
    result = run(script, tmp_path / "a", tmp_path / "b", f"--csv={tmp_path}/all.csv", "--show=1")
    assert result.returncode == 0, result.stderr
    better, worse = result.stdout.split("images got better")[1].split("images got worse")
    assert "c7_1_1.jpg" in better
    assert "c9_1_1.jpg" in worse
    lines = list(csv.DictReader((tmp_path / "all.csv").read_text().splitlines()))
    assert len(lines) == 20
    assert float(lines[7]["fMSE_difference"]) == pytest.approx(-90)
    for name, found in (("a", before), ("b", after)):
        (tmp_path / f"{name}.csv").write_bytes(image_metrics_csv(found[:2]))
    result = run(script, tmp_path / "a.csv", tmp_path / "b.csv")
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stdout.splitlines() if line.split()[1:3] == ["1", "MSE"]]
    assert len(lines) == 2
    assert all(line.endswith("  -") for line in lines)  # of one image nothing is said
    for arguments, message in (
        (["a", "c"], f"error: {tmp_path}/c: not found"),
        (["a", "b", "--metric=LPIPS"], "error: argument --metric: invalid choice: 'LPIPS'"),
    ):
        paths = (tmp_path / path for path in arguments[:2])
        assert failure(script, *paths, *arguments[2:]).startswith(message)
