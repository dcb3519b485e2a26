import cv2
import numpy as np
import pytest

from harmony_jax import InputError
from harmony_jax.data.composites.photo_set import PhotoSet
from tests.data.composites.made_photo import photo_with_segments
from tests.made_data import write_photos


@pytest.fixture
def folder(tmp_path):
    write_photos(tmp_path / "mine", 3)
    return tmp_path / "mine"


def names(photos: PhotoSet) -> list[str]:
    return [photos.name(index) for index in range(len(photos))]


def test_every_mask_is_an_object(folder):
    mask = folder / "masks" / "photo1_1.png"
    mask.with_name("photo1_2.png").write_bytes(mask.read_bytes())
    mask.with_name("photo1_10.png").write_bytes(mask.read_bytes())
    mask.with_name("other_1.png").touch()  # of no photo
    photos = PhotoSet(str(folder))
    assert names(photos) == [
        "images/photo0_1.png",
        *(f"images/photo1_{number}.png" for number in (1, 2, 3)),
        "images/photo2_1.png",
    ]
    assert photos.photo(2) == "images/photo1.png"
    real, mask = photos[4].values()
    expected = cv2.imread(str(folder / "images" / "photo2.png"))[:, :, ::-1]
    np.testing.assert_array_equal(real, expected)
    np.testing.assert_array_equal(mask, cv2.imread(str(folder / "masks" / "photo2_1.png"), 0))


def test_masks_are_found_inside_the_folder_of_photos(folder):
    (folder / "masks").rename(folder / "images" / "masks")
    photos = PhotoSet(str(folder / "images"))
    assert len(photos) == 3
    assert photos[0]["mask"].any()


def test_a_mask_named_as_a_photo_is_that_photo_s(folder):
    for place, name in (("images", "photo0.png"), ("masks", "photo0_1.png")):
        (folder / place / "photo2_1.png").write_bytes((folder / place / name).read_bytes())
    photos = PhotoSet(str(folder), regions=0)
    assert names(photos)[-1] == "images/photo2_1_1.png"
    assert "images/photo2_1.png" not in names(photos)  # its one mask is the other photo's


@pytest.mark.parametrize("named", [False, True])
def test_folders_below_are_taken_too_and_may_share_masks(folder, tmp_path, named):
    (folder / "deeper").mkdir()
    (folder / "images" / "photo1.png").rename(folder / "deeper" / "photo1.png")
    photos = PhotoSet(str(tmp_path), str(folder / "masks") if named else "", regions=0)
    assert names(photos) == [
        "mine/deeper/photo1_1.png",
        "mine/images/photo0_1.png",
        "mine/images/photo2_1.png",
    ]


def test_photos_without_masks_get_regions_or_are_left_out(folder):
    cv2.imwrite(str(folder / "images" / "plain.png"), photo_with_segments())
    photos = PhotoSet(str(folder))
    assert len(photos) == 5
    both = [photos[index] for index in range(len(photos)) if "plain" in photos.photo(index)]
    assert len(both) == 2
    for real, mask in (sample.values() for sample in both):
        assert mask.shape == real.shape[:2]
        assert set(np.unique(mask)) == {0, 255}
        assert 0.02 < (mask > 0).mean() < 0.55
    assert (both[0]["mask"] != both[1]["mask"]).any()
    assert len(PhotoSet(str(folder), regions=0)) == 3


def test_a_photo_is_read_once_for_its_colours(folder, monkeypatch):
    photos, read = PhotoSet(str(folder)), []
    original = PhotoSet.__getitem__
    monkeypatch.setattr(
        PhotoSet, "__getitem__", lambda self, i: read.append(i) or original(self, i)
    )
    assert photos.statistics(1) is photos.statistics(1)
    photos[2]
    photos.statistics(2)
    assert read == [1, 2]


def test_an_unreadable_photo_is_told_each_time_and_read_once(folder):
    path = folder / "images" / "photo1.png"
    path.write_bytes(path.read_bytes()[:60])
    photos = PhotoSet(str(folder))
    for _ in range(2):
        with pytest.raises(InputError, match=r"photo1\.png: not a readable picture"):
            photos.statistics(1)
    with pytest.raises(InputError, match=r"photo1\.png: not a readable picture"):
        photos[1]


@pytest.mark.parametrize(
    ("file", "shape", "level", "message"),
    [
        ("images/photo0.png", (20, 40, 3), 0, r"photo0\.png: 20x40 .* at least 32 pixels"),
        ("images/photo0.png", (48, 40, 3), 77, r"photo0\.png: 0 regions .* found, not 1"),
        ("masks/photo0_1.png", (48, 40), 0, r"photo0_1\.png: the mask has no foreground"),
        ("masks/photo0_1.png", (48, 40), 255, r"photo0_1\.png: the mask has no background"),
        ("masks/photo0_1.png", (40, 48), 255, r"photo0_1\.png: 40x48 .*photo0\.png is 48x40"),
    ],
)
def test_an_unusable_photo_is_one_line(file, shape, level, message, folder):
    (folder / "masks" / "photo0_1.png").unlink()
    cv2.imwrite(str(folder / file), np.full(shape, level, np.uint8))
    with pytest.raises(InputError, match=message) as error:
        PhotoSet(str(folder))[0]
    assert "\n" not in str(error.value)


def test_an_unusable_folder_is_one_line(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (folder / "images" / "photo0.jpg").touch()
    for mask in (folder / "masks").iterdir():
        mask.unlink()
    for arguments, message in (
        ((str(folder / "masks"), "", 0), r"data\.root .*no photo with a mask in it"),
        (("",), r"data\.root is empty"),
        ((str(tmp_path / "none"),), r"data\.root .*none: no such folder"),
        ((str(tmp_path / "empty"),), r"data\.root .*empty: no photo in it"),
        ((str(folder), str(tmp_path / "none")), r"data\.masks .*none: no such folder"),
        ((str(folder), "", -1), r"data\.regions_per_photo -1"),
        ((str(folder),), r"photo0\.png: photo0\.jpg has the same stem"),
    ):
        with pytest.raises(InputError, match=message) as error:
            PhotoSet(*arguments)
        assert "\n" not in str(error.value)
