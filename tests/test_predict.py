import cv2
import numpy as np
import pytest

from harmony_jax import Harmonizer, InputError
from harmony_jax.data.photos import read_photo, write_photo
from harmony_jax.predict import predict

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def harmonizer(trained):
    return Harmonizer.from_checkpoint(trained[1])


def photo_and_mask(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    image = RNG.integers(0, 256, (height, width, 3)).astype(np.uint8)
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : height // 2, width // 4 : width // 2] = 255
    return image, mask


@pytest.mark.parametrize("size", [(32, 32), (75, 41), (200, 333)])
def test_photos_keep_their_size_and_their_background(harmonizer, size):
    image, mask = photo_and_mask(*size)
    harmonized = harmonizer.harmonize(image, mask)
    assert harmonized.shape == image.shape
    assert harmonized.dtype == np.uint8
    np.testing.assert_array_equal(harmonized[mask == 0], image[mask == 0])
    assert (harmonized[mask == 255] != image[mask == 255]).any()


def test_a_soft_mask_mixes_the_change_in(harmonizer):
    image, mask = photo_and_mask(32, 32)
    image[:] = 120
    whole = harmonizer.harmonize(image, mask).astype(float) - image
    half = harmonizer.harmonize(image, np.where(mask, 128, 0).astype(np.uint8)) - image.astype(
        float
    )
    np.testing.assert_allclose(half, whole / 2, atol=1.1)


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        (np.zeros((8, 8), np.uint8), np.ones((8, 8), np.uint8), "expected uint8 .height, width, 3"),
        (np.zeros((8, 8, 3)), np.ones((8, 8), np.uint8), "image float64"),
        (np.zeros((8, 8, 3), np.uint8), np.full((4, 8), 255, np.uint8), r"mask uint8 \(4, 8\)"),
        (np.zeros((8, 8, 3), np.uint8), np.full((8, 8), 100, np.uint8), "largest value is 100"),
    ],
)
def test_arrays_that_do_not_fit(harmonizer, image, mask, message):
    with pytest.raises(InputError, match=message):
        harmonizer.harmonize(image, mask)


@pytest.fixture
def pictures(tmp_path):
    """Two photos; one has its own mask, the other shares its region's as in iHarmony4."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "masks").mkdir()
    for name, mask_name in (("cat.png", "cat.png"), ("a_1_2.png", "a_1.png")):
        image, mask = photo_and_mask(40, 50)
        write_photo(tmp_path / "photos" / name, image)
        cv2.imwrite(str(tmp_path / "masks" / mask_name), mask)
    return tmp_path


def test_one_photo_to_a_file(trained, pictures, harmonizer):
    photo, mask = pictures / "photos" / "cat.png", pictures / "masks" / "cat.png"
    written = predict(trained[1], photo, mask, pictures / "out.png")
    assert written == [pictures / "out.png"]
    expected = harmonizer.harmonize(read_photo(photo), cv2.imread(str(mask), 0))
    np.testing.assert_array_equal(read_photo(written[0]), expected)


def test_folders_and_outputs_that_are_there_already(trained, pictures):
    arguments = (trained[1], pictures / "photos", pictures / "masks", pictures / "out")
    assert {path.name for path in predict(*arguments)} == {"cat.png", "a_1_2.png"}
    with pytest.raises(InputError, match=r"a_1_2\.png: is there already \(2 of 2.*--overwrite"):
        predict(*arguments)
    assert len(predict(*arguments, overwrite=True)) == 2


def test_inputs_that_are_missing_or_do_not_pair(trained, pictures):
    photos, masks, out = pictures / "photos", pictures / "masks", pictures / "out"

    def refuse(image, mask, message):
        with pytest.raises(InputError, match=message):
            predict(trained[1], image, mask, out)
        assert not out.exists()

    refuse(photos / "dog.png", masks / "cat.png", r"dog\.png: no such file")
    refuse(photos, masks / "cat.png", "pass two files or two folders")
    refuse(masks.parent / "masks", photos.parent / "photos", r"a_1\.png: no mask")
    (masks / "cat.png").unlink()
    refuse(photos, masks, r"cat\.png: no mask: expected .*cat\.png")
    (pictures / "empty").mkdir()
    refuse(pictures / "empty", masks, "empty: no photo")
