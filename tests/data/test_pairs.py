import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from harmony_jax import InputError, evaluate
from harmony_jax.data.iharmony4 import IHarmony4Source
from harmony_jax.data.pairs import PairsSource
from harmony_jax.data.predictions import Predictions
from harmony_jax.data.sources import sample_name
from harmony_jax.data.splits import lacks_test_set, open_split
from harmony_jax.evaluation.run import evaluate_workdir
from harmony_jax.training.continuation import check_continuation, training_metadata
from harmony_jax.training.loop import train
from tests.made_data import tiny_config, write_pairs


@pytest.fixture
def folder(tmp_path):
    write_pairs(tmp_path / "shop", 4)
    return tmp_path / "shop"


@pytest.fixture
def written(folder):
    """Writes a list with these lines beside the folder's pictures."""

    def write(*lines: str) -> Path:
        path = folder / "mine.csv"
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


def names(source) -> list[str]:
    return [sample_name(source, index) for index in range(len(source))]


def row(index: int) -> str:
    return f"composites/photo{index}.jpg,masks/photo{index}.png,reals/photo{index}.png"


def test_a_folder_goes_together_by_stems(folder):
    (folder / "reals" / "unused.png").touch()
    source = PairsSource(str(folder))
    assert names(source) == [f"shop/photo{index}.jpg" for index in range(4)]
    sample = source[2]
    for key, path in (("composite", "composites/photo2.jpg"), ("real", "reals/photo2.png")):
        np.testing.assert_array_equal(sample[key], cv2.imread(str(folder / path))[:, :, ::-1])
    mask = cv2.imread(str(folder / "masks" / "photo2.png"), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(sample["mask"], mask)


def test_iharmony4s_names_share_masks_and_photos(mini_root):
    pairs = PairsSource(str(mini_root / "HCOCO"))
    train, test = (IHarmony4Source(str(mini_root), split, ["HCOCO"]) for split in ("train", "test"))
    expected = {
        (sample_name(source, index), source.photo(index)): source[index]
        for source in (train, test)
        for index in range(len(source))
    }
    assert len(pairs) == len(expected) == 10
    for index in range(len(pairs)):
        sample = expected[sample_name(pairs, index), f"HCOCO/{pairs.photo(index)}"]
        for key, value in pairs[index].items():
            np.testing.assert_array_equal(value, sample[key])


def test_another_composites_files_are_not_shared(folder):
    """`photo1_b` is no composite of `photo1`, which has its own."""
    os.rename(folder / "composites" / "photo0.jpg", folder / "composites" / "photo1_b.jpg")
    refuse(folder, f"{folder}/composites/photo1_b.jpg: no mask: expected {folder}/masks/photo1_b")


def test_a_list_says_its_order_and_keeps_its_own(folder, written):
    plain = PairsSource(str(written(row(3), "", row(1).replace(",", ", "))))
    assert names(plain) == ["mine/composites/photo3.jpg", "mine/composites/photo1.jpg"]
    header = "Real,composite,mask"
    absolute = f"{folder}/reals/photo3.png,composites/photo3.jpg,masks/photo3.png"
    named = PairsSource(str(written(header, absolute)))
    assert names(named) == ["mine/composites/photo3.jpg"]
    assert named.photo(0) == plain.photo(0) == "reals/photo3.png"
    for key, value in named[0].items():
        np.testing.assert_array_equal(value, plain[0][key])


def test_a_list_of_windows(folder, written):
    os.rename(folder / "reals" / "photo2.png", folder / "reals" / "photo2.PNG")
    path = written(row(0).replace("/", "\\"), "/" + row(1).replace(",", ",shop/"), row(2))
    path.write_bytes(path.read_text().encode("utf-16"))
    source = PairsSource(str(path))
    assert names(source) == [f"mine/composites/photo{index}.jpg" for index in range(3)]
    for index in range(3):
        assert source[index]["mask"].any()
    path.write_bytes("composites/é.jpg".encode("latin-1"))
    refuse(path, f"{path}: no UTF-8 text at byte 11")


def test_predictions_of_a_list_lie_in_its_folders(folder, written):
    source = PairsSource(str(written(row(0), row(1))))
    (folder / "out" / "composites").mkdir(parents=True)
    for index in range(2):
        os.link(folder / "reals" / f"photo{index}.png", folder / f"out/composites/photo{index}.png")
    predictions = Predictions(folder / "out", source)
    np.testing.assert_array_equal(predictions.read(1, [(48, 40)]), source[1]["real"])
    (folder / "out/composites/photo1.png").unlink()
    with pytest.raises(InputError, match=r"no prediction for mine/composites/photo1\.jpg"):
        Predictions(folder / "out", source)


def refuse(root, *patterns: str) -> None:
    with pytest.raises(InputError) as error:
        PairsSource(str(root))
    message = str(error.value)
    assert "\n" not in message
    for pattern in patterns:
        assert pattern in message, message


def test_folders_that_are_amiss(folder, tmp_path):
    refuse("", "data.root is empty")
    refuse(tmp_path / "none", f"data.root {tmp_path}/none: no such file or folder")
    refuse(tmp_path, f"data.root {tmp_path}: no composites/ or composite_images/")
    (folder / "reals" / "photo2.png").unlink()
    refuse(folder, f"{folder}/composites/photo2.jpg: no real photo", "1 of 4")
    (folder / "masks" / "photo1.png").unlink()
    refuse(folder, "photo1.jpg: no mask", "masks/photo1.png (2 of 4")
    (folder / "composites" / "photo1.png").touch()
    refuse(folder, "photo1.png: photo1.jpg has the same stem")
    for path in (folder / "composites").iterdir():
        path.unlink()
    (folder / "composites" / "notes.txt").touch()
    refuse(folder, f"{folder}/composites: no picture")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], "the list is empty"),
        (["composite,mask,real"], "the list is empty"),
        ([row(0), "a.jpg,b.png"], "line 2: 'a.jpg,b.png': expected 3 columns"),
        (["a.jpg b.png c.jpg"], "line 1: "),
        ([row(0), "", "a.jpg,,c.jpg"], "line 3: "),
        ([row(0) + ",more"], "line 1: "),
        (['"a.jpg,b.png,c.jpg'], "line 1: "),
        ([row(0), row(1), row(0)], "line 3: composites/photo0.jpg stands in line 1"),
        ([row(0), row(7)], "{folder}/composites/photo7.jpg: composite not found (3 of 6"),
    ],
)
def test_lists_that_are_amiss(folder, written, lines, expected):
    path = written(*lines)
    refuse(path, str(path), expected.format(folder=folder))


def test_a_folder_s_test_list_is_its_test_set(mini_root, tmp_path):
    root = tmp_path / "renamed"
    shutil.copytree(mini_root / "HCOCO", root)
    data = tiny_config().data
    data.name, data.root, data.validation_fraction = "pairs", str(root), 0.5
    train, validation, test = (open_split(data, s) for s in ("train", "validation", "test"))
    listed = (root / "HCOCO_test.txt").read_text().split()
    assert names(test) == [f"renamed/{name}" for name in listed]
    assert not lacks_test_set(data)
    learned = names(train) + names(validation)
    assert sorted(learned + names(test)) == names(PairsSource(str(root)))
    data.test_root = str(mini_root / "HFlickr")  # another one is evaluated as a whole
    assert names(open_split(data, "test")) == names(PairsSource(data.test_root))
    assert names(open_split(data, "train")) == names(train)
    data.test_root = ""
    (root / "HCOCO_test.txt").write_text("")  # as make_composites --test-fraction=0 leaves it
    assert lacks_test_set(data)
    assert names(open_split(data, "test")) == names(open_split(data, "validation"))


def test_composites_of_one_photo_stay_on_one_side(mini_root, tmp_path):
    root = tmp_path / "HCOCO"
    shutil.copytree(mini_root / "HCOCO", root, ignore=shutil.ignore_patterns("*.txt"))
    data = tiny_config().data
    data.name, data.root, data.validation_fraction = "pairs", str(root), 0.5
    train, validation, test = (open_split(data, s) for s in ("train", "validation", "test"))
    assert sorted(names(train) + names(validation)) == names(PairsSource(data.root))
    photos = [{source.photo(i) for i in range(len(source))} for source in (train, validation)]
    assert len(photos[0] & photos[1]) == 0 < min(map(len, photos))
    assert names(test) == names(validation)
    data.test_root = str(mini_root / "HFlickr")
    assert names(open_split(data, "test")) == names(PairsSource(data.test_root))
    assert names(open_split(data, "train")) == names(train)


def test_training_on_pairs_ends_with_the_report_of_those_held_out(tmp_path, mini_root, caplog):
    config, shop, workdir = tiny_config(), tmp_path / "shop", tmp_path / "run"
    write_pairs(shop, 8)
    config.data.name, config.data.root = "pairs", str(shop)
    config.train.epochs, config.optimizer.milestones = 1, ()
    config.evaluation.every_epochs = 1
    train(config, workdir)
    found = json.loads((workdir / "evaluation.json").read_text())["model"]
    assert found["shop"]["N"] == found["All"]["N"] == 2  # a fifth of 8, rounded up
    assert "evaluating the 2 held-out samples" in caplog.text
    page = (workdir / "evaluation.html").read_text()
    assert " on shop at 32 x 32 pixels</h1>" in page
    assert "DoveNet" not in page

    metadata = training_metadata(config, open_split(config.data, "train"))
    shop.rename(tmp_path / "moved")
    config.data.root = str(tmp_path / "moved")
    moved = training_metadata(config, open_split(config.data, "train"))
    check_continuation(metadata, moved, tmp_path)  # the data is the same

    # Others are evaluated on by path, or as the test set; then what it was trained on is not read.
    others = mini_root / "HCOCO"
    records = evaluate(workdir, others, image_size=32, batch_size=2, num_workers=0)
    assert {record["subset"] for record in records} == {"HCOCO"}
    assert len(records) == 10  # all of them
    config.data.test_root = str(others)
    config.data.root = config.init.checkpoint = "/nowhere"
    means = evaluate_workdir(config, tmp_path, workdir)
    assert means["All"]["fMSE"] == pytest.approx(np.mean([r["fMSE"] for r in records]), rel=1e-4)
    assert means["HCOCO"]["N"] == 10
    config.data.test_root, config.data.root = "", str(tmp_path / "moved")
    config.data.validation_fraction = 0.0
    with pytest.raises(InputError, match=r"'test' is empty.*data\.test_root.*data\.validation"):
        evaluate_workdir(config, tmp_path, workdir)
