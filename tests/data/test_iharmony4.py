import cv2
import numpy as np
import pytest

from harmony_jax import InputError
from harmony_jax.data.iharmony4 import IHarmony4Source
from tests.made_data import SUBSETS, write_iharmony4


@pytest.fixture
def root(tmp_path):
    write_iharmony4(tmp_path, train=8, test=4)
    return tmp_path


def test_samples_follow_the_lists_and_the_naming(root):
    source = IHarmony4Source(str(root), "train", SUBSETS)
    assert len(source) == 8
    assert [source.subset(i) for i in range(8)] == ["HCOCO"] * 4 + ["HFlickr"] * 4
    assert source.name(1) == "train000_1_1.jpg"
    assert source.photo(0) == source.photo(1) == "HCOCO/train000.jpg" != source.photo(2)
    assert source.photo(4) == "HFlickr/train000.jpg"  # another photo, whatever it is called
    sample = source[1]
    folder = root / "HCOCO"
    for key, path in (
        ("composite", folder / "composite_images" / "train000_1_1.jpg"),
        ("real", folder / "real_images" / "train000.jpg"),
    ):
        np.testing.assert_array_equal(sample[key], cv2.imread(str(path))[:, :, ::-1])
    mask = cv2.imread(str(folder / "masks" / "train000_1.png"), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(sample["mask"], mask)


def refuse(root, pattern, split="train", subsets=SUBSETS, index=None):
    with pytest.raises(InputError, match=pattern) as error:
        IHarmony4Source(str(root), split, subsets)[index]
    assert "\n" not in str(error.value)


def test_missing_root_list_and_files_are_named(root):
    refuse("", r"data\.root is empty")
    refuse(root / "nowhere", "nowhere: no such folder")
    refuse(root, "subset 'HKOKO'.*HCOCO", subsets=("HKOKO",))
    refuse(root, "split 'validate'", split="validate")
    refuse(root, r"HAdobe5k_train\.txt: list file not found", subsets=("HAdobe5k",))
    (root / "HFlickr" / "masks" / "train000_1.png").unlink()
    refuse(root, r"HFlickr/masks/train000_1\.png: mask not found \(2 of 24 .*HFlickr_train\.txt")
    (root / "HCOCO" / "real_images" / "train001.jpg").unlink()
    refuse(root, r"train001\.jpg: real not found \(4 of 24")
    (root / "HCOCO" / "HCOCO_train.txt").write_text("\n")
    refuse(root, r"HCOCO_train\.txt: the list is empty")
    (root / "HCOCO" / "HCOCO_train.txt").write_text("nonsense.jpg\n")
    refuse(root, r"HCOCO_train\.txt: 'nonsense\.jpg'")


def test_lists_of_windows_find_the_same_samples(root):
    expected = IHarmony4Source(str(root), "train", ("HCOCO",))
    names = [expected.name(index) for index in range(4)]
    folder = root / "HCOCO"
    (folder / "composite_images" / names[1]).rename(folder / "composite_images/TRAIN000_1_1.JPG")
    (folder / "masks/train001_1.png").rename(folder / "masks/train001_1.PNG")
    starts = ("composite_images\\", "/", "HCOCO/composite_images/", "")
    lines = [start + name for start, name in zip(starts, names, strict=True)]
    (folder / "HCOCO_train.txt").write_text("\r\n".join(lines), encoding="utf-16")
    source = IHarmony4Source(str(root), "train", ("HCOCO",))
    assert [source.name(index) for index in range(4)] == names
    for index in range(4):
        assert source[index]["mask"].any()


def test_a_composite_is_listed_once(root):
    with (root / "HCOCO" / "HCOCO_train.txt").open("a") as file:
        file.write("/train000_1_1.jpg\n")
    refuse(
        root, r"HCOCO_train\.txt, line 5: train000_1_1\.jpg stands in line 2 already: remove one"
    )


def test_samples_that_do_not_fit_together_are_named(root):
    masks = root / "HCOCO" / "masks"
    cv2.imwrite(str(masks / "train000_1.png"), np.full((10, 12), 255, np.uint8))
    refuse(root, r"train000_1\.png: 10x12.*48x40", index=0)
    cv2.imwrite(str(masks / "train001_1.png"), np.zeros((48, 40), np.uint8))
    refuse(root, r"train001_1\.png: .*no foreground.*train001_1_0\.jpg", index=2)
