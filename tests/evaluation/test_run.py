import csv
import json
import logging
import os
import shutil
from pathlib import Path

import cv2
import jax.numpy as jnp
import numpy as np
import pytest

from harmony_jax import InputError, denormalize, evaluate, normalize
from harmony_jax.data.codecs import write_photo
from harmony_jax.data.iharmony4 import IHarmony4Source
from harmony_jax.evaluation.comparison import check_alike
from harmony_jax.evaluation.run import evaluate_workdir
from harmony_jax.weights.saved_model import load_model
from harmony_jax.weights.steps import FOLDER
from tests.evaluation.reference import ssim_of_one
from tests.made_data import SUBSETS, tiny_config, write_varied_test_lists
from tests.released import evaluation_of_composites

MINI = os.environ.get("HARMONY_JAX_IHARMONY4_MINI", "")


def released_metrics(prediction: np.ndarray, real: np.ndarray, mask: np.ndarray) -> list[float]:
    """MSE, fMSE and PSNR as the authors' evaluation defines them, of one picture in float64."""
    square = (prediction.astype(np.float64) - real) ** 2
    mse = square.mean()
    fmse = (square * mask[..., None]).sum() / (3 * mask.sum() + 1e-6)
    return [mse, fmse, 10 * np.log10(real.max() ** 2.0 / (mse + 1e-6))]


def released_evaluation(root: Path, predictions: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Of the composites and of ready predictions, with nothing of this package."""

    def read(path: Path) -> np.ndarray:
        pixels = cv2.imread(str(path))[..., ::-1]
        return cv2.resize(pixels, (256, 256), interpolation=cv2.INTER_LINEAR)

    groups: dict[str, list[tuple[list[float], list[float]]]] = {}
    for folder in root.iterdir():
        for name in (folder / f"{folder.name}_test.txt").read_text().split():
            photo, number, _ = name.split("_")
            real = read(folder / "real_images" / f"{photo}.jpg")
            mask = cv2.imread(str(folder / "masks" / f"{photo}_{number}.png"))[..., 0]
            mask = cv2.resize(mask.astype(np.float32) / 255, (256, 256))
            found = [
                read(folder / "composite_images" / name),
                read((predictions / folder.name / name).with_suffix(".png")),
            ]
            numbers = [released_metrics(prediction, real, mask) for prediction in found]
            ratio = (mask > 0.5).mean()
            names = [folder.name, "All"]
            for low, high in ((0, 5), (5, 15), (15, 100), (0, 100)):
                if low / 100 <= ratio <= high / 100:
                    names.append(f"All {low}%-{high}%")
            for group in names:
                groups.setdefault(group, []).append(numbers)
    summary = {"composite": {}, "model": {}}
    for group, images in groups.items():
        for row, means in zip(summary.values(), np.mean(images, 0), strict=True):
            row[group] = {
                "N": len(images),
                **dict(zip(("MSE", "fMSE", "PSNR"), means, strict=True)),
            }
    return summary


def test_numbers_are_those_of_the_released_definitions(tmp_path):
    write_varied_test_lists(tmp_path / "data")
    config = tiny_config(tmp_path / "data")
    config.data.subsets = ("HCOCO", "HAdobe5k", "HFlickr", "Hday2night")
    config.data.image_size = 256
    rng = np.random.default_rng(0)
    source = IHarmony4Source(config.data.root, "test", config.data.subsets)
    for index in range(len(source)):
        real = cv2.resize(source[index]["real"], (256, 256)).astype(float)
        name = Path(source.subset(index)) / Path(source.name(index)).with_suffix(".png")
        pixels = np.clip(real + rng.normal(0, 5, real.shape), 0, 255).astype(np.uint8)
        write_photo(tmp_path / "predictions" / name, pixels)
    evaluate_workdir(config, tmp_path / "out", predictions=tmp_path / "predictions")
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    expected = released_evaluation(tmp_path / "data", tmp_path / "predictions")
    assert len(expected["model"]) == 9
    for row, groups in expected.items():
        assert found[row].keys() == groups.keys()
        for group, metrics in groups.items():
            for name, value in metrics.items():
                where = f"{row} {group} {name}"
                np.testing.assert_allclose(found[row][group][name], value, 1e-4, err_msg=where)


@pytest.mark.skipif(not MINI, reason="HARMONY_JAX_IHARMONY4_MINI does not name the mini data set")
def test_released_numbers_of_the_mini_set(trained, tmp_path):
    config, workdir = trained
    config = config.copy_and_resolve_references()
    config.data.root = MINI
    config.data.subsets = ("HCOCO", "HAdobe5k", "HFlickr", "Hday2night")
    config.evaluation.image_size = 256
    evaluate_workdir(config, tmp_path, workdir)
    found = json.loads((tmp_path / "evaluation.json").read_text())["composite"]
    expected = evaluation_of_composites()
    assert found.keys() == expected.keys()
    for group, metrics in expected.items():
        for name, value in metrics.items():
            np.testing.assert_allclose(found[group][name], value, rtol=1e-4, err_msg=group + name)


def test_other_splits_and_earlier_results_stay_apart(trained, tmp_path, capsys):
    config, workdir = trained
    shutil.copytree(workdir / FOLDER, tmp_path / FOLDER)
    config = config.copy_and_resolve_references()
    for _ in range(3):
        evaluate_workdir(config, tmp_path)
    config.evaluation.split = "validation"
    evaluate_workdir(config, tmp_path)
    assert {path.name for path in tmp_path.glob("*.json")} == {
        "evaluation.json",
        "evaluation.1.json",
        "evaluation.2.json",
        "evaluation_validation.json",
    }
    validation = json.loads((tmp_path / "evaluation_validation.json").read_text())
    assert validation["model"]["All"]["N"] == 4
    assert "DoveNet" in (tmp_path / "evaluation.md").read_text()
    # Published rows are of the test list.
    assert "DoveNet" not in (tmp_path / "evaluation_validation.md").read_text()
    printed = capsys.readouterr().out
    assert "composite" in printed
    assert f"{validation['model']['All']['MSE']:.2f}" in printed


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"data.subsets": ("HCOCO", "HVideo")}, r"data\.subsets .*'HVideo'"),
        ({"data.subsets": ()}, "data.subsets is empty"),
        ({"evaluation.split": "holdout"}, r"evaluation\.split 'holdout'"),
        (
            {"evaluation.split": "validation", "data.validation_fraction": 0.0},
            "'validation' is empty: set data.validation_fraction",
        ),
        ({"model.name": "dih256"}, r"checkpoints/\d+: holds model .*improved_dih256.*'dih256'"),
    ],
)
def test_configs_that_do_not_fit(trained, tmp_path, fields, message):
    config, workdir = trained
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(fields)
    refuse(config, tmp_path, message, workdir)


def test_checkpoints_that_are_not_there_or_damaged(trained, tmp_path):
    config, workdir = trained
    refuse(config, tmp_path, "no checkpoint there")
    refuse(config, tmp_path, "checkpoints/4321: no such file", workdir / FOLDER / "4321")
    shutil.copytree(workdir / FOLDER, tmp_path / FOLDER)
    for file in (tmp_path / FOLDER / "10" / "model").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    refuse(config, tmp_path, "checkpoints/10: damaged", tmp_path / FOLDER / "10")


def refuse(config, workdir: Path, message: str, checkpoint: Path | None = None) -> None:
    with pytest.raises(InputError, match=message):
        evaluate_workdir(config, workdir, checkpoint)
    assert not (workdir / "evaluation.json").exists()


def evaluated(trained, tmp_path, **fields):
    """Evaluates the trained model with other fields: JSON, the lines of the images, the config."""
    config, workdir = trained
    config = config.copy_and_resolve_references()
    for name, value in fields.items():
        config.evaluation[name] = value
    evaluate_workdir(config, tmp_path, workdir)
    with (tmp_path / "evaluation_images.csv").open() as file:
        lines = list(csv.DictReader(file))
    return json.loads((tmp_path / "evaluation.json").read_text()), lines, config


def predictions_of(trained, source, size=None) -> list[np.ndarray]:
    """The trained model's output for each sample, one by one, resized or padded by hand."""
    model, _ = load_model(trained[1])
    found = []
    for index in range(len(source)):
        sample = source[index]
        composite, mask = sample["composite"], sample["mask"]
        height, width = mask.shape
        pads = ((0, 0), (0, 0))
        if size:
            composite, mask = cv2.resize(composite, (size, size)), cv2.resize(mask, (size, size))
        else:
            extra = [-side % model.size_divisor for side in (height, width)]
            pads = tuple((more // 2, more - more // 2) for more in extra)
            composite, mask = np.pad(composite, (*pads, (0, 0))), np.pad(mask, pads)
        output = model(
            normalize(jnp.asarray(composite)[None]),
            jnp.asarray(mask, jnp.float32)[None, ..., None] / 255,
        )
        pixels = np.clip(denormalize(output.image[0]), 0, 255)
        if not size:
            pixels = pixels[pads[0][0] : pads[0][0] + height, pads[1][0] : pads[1][0] + width]
        found.append(np.asarray(pixels))
    return found


def test_photos_of_their_own_size_are_padded_and_cut_back(trained, mini_root, tmp_path):
    result, lines, _ = evaluated(trained, tmp_path, resize="none")
    source = IHarmony4Source(str(mini_root), "test", SUBSETS)
    predictions = predictions_of(trained, source)
    for index, (line, pixels) in enumerate(zip(lines, predictions, strict=True)):
        sample = source[index]
        mask = sample["mask"] / 255
        expected = released_metrics(pixels, sample["real"], mask)
        assert line["name"] == source.name(index)
        found = [float(line[metric]) for metric in ("MSE", "fMSE", "PSNR")]
        assert found == pytest.approx(expected, rel=1e-3)
        assert float(line["foreground_ratio"]) == pytest.approx((mask > 0.5).mean(), rel=1e-5)
        composite = ssim_of_one(sample["composite"], sample["real"])
        assert float(line["composite_SSIM"]) == pytest.approx(composite, rel=1e-3)
    mean = np.mean([float(line["MSE"]) for line in lines])
    assert result["model"]["All"]["MSE"] == pytest.approx(mean)
    assert result["evaluation"]["resize"] == "none"


def test_another_size_and_the_mirror_image(trained, mini_root, tmp_path):
    _, lines, _ = evaluated(trained, tmp_path / "64", image_size=64)
    source = IHarmony4Source(str(mini_root), "test", SUBSETS)
    expected = predictions_of(trained, source, 64)
    real = [cv2.resize(source[i]["real"], (64, 64)).astype(float) for i in range(len(source))]
    for line, pixels, target in zip(lines, expected, real, strict=True):
        assert float(line["MSE"]) == pytest.approx(((pixels - target) ** 2).mean(), rel=1e-3)
    plain, _, _ = evaluated(trained, tmp_path / "plain")
    flipped, _, _ = evaluated(trained, tmp_path / "flipped", flip=True)
    assert flipped["composite"] == plain["composite"]
    assert flipped["model"]["All"]["MSE"] != plain["model"]["All"]["MSE"]
    # The mean of two predictions is at least as good as they are in the mean: MSE is convex.
    assert flipped["model"]["All"]["MSE"] < 1.05 * plain["model"]["All"]["MSE"]


def test_ready_predictions_of_any_program(trained, mini_root, tmp_path):
    """Our own predictions, written as pictures, have our own numbers within rounding."""
    plain, _, config = evaluated(trained, tmp_path / "model")
    source = IHarmony4Source(str(mini_root), "test", SUBSETS)
    folder = tmp_path / "rival"
    for index, pixels in enumerate(predictions_of(trained, source, 32)):
        name = Path(source.name(index)).with_suffix(".png")
        write_photo(folder / source.subset(index) / name, np.rint(pixels).astype(np.uint8))
    evaluate_workdir(config, tmp_path / "out", predictions=folder)
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert found["composite"] == plain["composite"]
    for metric in ("MSE", "fMSE", "PSNR", "SSIM"):
        assert found["model"]["All"][metric] == pytest.approx(
            plain["model"]["All"][metric], rel=0.01
        )
    write_photo(
        folder / source.subset(0) / Path(source.name(0)).with_suffix(".png"),
        np.zeros((9, 9, 3), np.uint8),
    )
    with pytest.raises(InputError, match=r"1 of 6 images could not be read.*9x9"):
        evaluate_workdir(config, tmp_path / "other", predictions=folder)
    with pytest.raises(InputError, match="predictions and a checkpoint"):
        evaluate_workdir(config, tmp_path / "both", trained[1], predictions=folder)


def test_an_unreadable_image_is_left_out_and_named_at_the_end(trained, mini_root, tmp_path):
    config, workdir = trained
    config = config.copy_and_resolve_references()
    shutil.copytree(mini_root, tmp_path / "data")
    config.data.root = str(tmp_path / "data")
    photo = next((tmp_path / "data" / "HCOCO" / "composite_images").glob("test*"))
    photo.write_bytes(photo.read_bytes()[:200])
    with pytest.raises(InputError, match=f"1 of 6 images .*{photo.name}: damaged"):
        evaluate_workdir(config, tmp_path, workdir)
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert found["model"]["All"]["N"] == 5
    assert len(found["left_out"]) == 1
    assert photo.name in found["left_out"][0]
    assert "1 images could not be read" in (tmp_path / "evaluation.md").read_text()


def test_the_files(trained, tmp_path):
    result, lines, _ = evaluated(trained, tmp_path)
    assert len(lines) == 6
    page = (tmp_path / "evaluation.html").read_text()
    assert all(line["name"] in page for line in lines)
    assert page.count("data:image/") >= 5
    markdown = (tmp_path / "evaluation.md").read_text()
    assert f"| improved_dih256, this run | {result['model']['HCOCO']['MSE']:.2f}" in markdown
    assert "30.70" in markdown  # the released weights of this model
    assert "| composite, unchanged |" in markdown
    assert "All 15%-100% 6, All 6; none in All 0%-5%, All 5%-15%. Published" in markdown
    assert f"{result['model']['All']['fMSE']:.2f}" in markdown
    rows = list(csv.DictReader((tmp_path / "evaluation.csv").read_text().splitlines()))
    (ours,) = (row for row in rows if row["method"] == "improved_dih256, this run")
    assert ours["All MSE"] == f"{result['model']['All']['MSE']:.2f}"
    assert None not in ours.values()
    assert result["evaluation"]["image_size"] == 32
    for text in (markdown, page):
        assert "at 32 x 32 pixels" in text


def test_a_model_is_evaluated_at_the_size_it_was_trained_at(trained, tmp_path, caplog):
    config, workdir = trained
    other = config.copy_and_resolve_references()
    other.data.image_size = 64
    with caplog.at_level(logging.WARNING):
        found = evaluate_workdir(other, tmp_path / "own", workdir)
    assert "the model's 32 pixels, not at data.image_size 64" in caplog.text
    assert found == evaluate_workdir(config, tmp_path / "same", workdir)
    other.evaluation.image_size = 64
    evaluate_workdir(other, tmp_path / "64", workdir)
    assert "trained at 32 pixels, and is evaluated at 64" in caplog.text
    with pytest.raises(InputError, match=r"evaluation\.image_size is 32 in .*own and 64 in"):
        check_alike(tmp_path / "own", tmp_path / "64")
    check_alike(tmp_path / "own", tmp_path / "same")


def test_from_python(trained, mini_root, tmp_path):
    _, lines, _ = evaluated(trained, tmp_path)
    options = {"subsets": SUBSETS, "image_size": 32, "batch_size": 2, "num_workers": 0}
    records = evaluate(trained[1], mini_root, **options)
    assert [record["name"] for record in records] == [line["name"] for line in lines]
    for record, line in zip(records, lines, strict=True):
        assert record.keys() == line.keys()
        assert record["fMSE"] == pytest.approx(float(line["fMSE"]), rel=1e-4)
    model, _ = load_model(trained[1])
    source = IHarmony4Source(str(mini_root), "test", SUBSETS)
    again = evaluate(model, source, **{**options, "batch_size": 5})  # six on two devices
    assert [r["SSIM"] for r in again] == pytest.approx([r["SSIM"] for r in records], rel=1e-4)
    with pytest.raises(InputError, match=r"evaluation\.batch_size 0"):
        evaluate(model, source, **{**options, "batch_size": 0})
