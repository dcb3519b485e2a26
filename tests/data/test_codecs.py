import struct
import zlib

import cv2
import numpy as np
import pytest

from harmony_jax import InputError
from harmony_jax.data.codecs import decode_mask, read_photo, write_photo
from harmony_jax.disk import read_file
from harmony_jax.photos.decoding import read_picture
from harmony_jax.photos.masks import mask_of

RNG = np.random.default_rng(0)


def read_mask(path):
    return decode_mask(read_file(path), str(path))


@pytest.fixture
def pixels() -> np.ndarray:
    small = RNG.integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return cv2.resize(small, (80, 60), interpolation=cv2.INTER_CUBIC)


def test_jpeg_pixels_are_opencvs_in_rgb_order(tmp_path, pixels):
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), pixels)
    np.testing.assert_array_equal(read_photo(path), cv2.imread(str(path))[:, :, ::-1])


def test_a_photo_is_turned_as_its_exif_orientation_says(tmp_path, pixels):
    path = tmp_path / "turned.jpg"
    cv2.imwrite(str(path), pixels)
    upright, data = read_photo(path), path.read_bytes()
    # One little-endian entry: tag 0x0112 (orientation), type short, value 6: rotate clockwise.
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 0)
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    path.write_bytes(data[:2] + segment + data[2:])
    np.testing.assert_array_equal(read_photo(path), np.rot90(upright, -1))


@pytest.mark.parametrize("kind", ["grey", "three channels", "16 bit", "alpha"])
def test_masks_of_every_kind_give_the_first_channel(tmp_path, kind):
    grey = RNG.integers(0, 256, (9, 7)).astype(np.uint8)
    stored = {
        "grey": grey,
        "three channels": np.stack([grey] * 3, -1),
        "16 bit": grey.astype(np.uint16) << 8,
        "alpha": np.stack([grey, grey, grey, np.full_like(grey, 255)], -1),
    }[kind]
    cv2.imwrite(str(tmp_path / "m.png"), stored)
    found = read_mask(tmp_path / "m.png")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, grey)


def shape_of(value: int, kind: type = np.uint8) -> np.ndarray:
    """A mask with this value on its foreground, and nothing around it."""
    mask = np.zeros((9, 7), kind)
    mask[2:5, 3:6] = value
    return mask


WHITE = shape_of(255)
OTHER_MASKS = {
    "0 and 1": shape_of(1),
    "0 and 1 of 16 bits": shape_of(1, np.uint16),
    "0 and 1 in three channels": np.stack([shape_of(1)] * 3, -1),
    "two labels": np.maximum(shape_of(38), 15),
    "white, the object in alpha": np.dstack([np.full((9, 7, 3), 255, np.uint8), WHITE]),
    "a cutout": np.dstack([RNG.integers(0, 256, (9, 7, 3)).astype(np.uint8), WHITE]),
}


@pytest.mark.parametrize("stored", OTHER_MASKS.values(), ids=list(OTHER_MASKS))
def test_masks_of_other_programs_are_read_as_harmonize_reads_them(tmp_path, stored):
    cv2.imwrite(str(tmp_path / "m.png"), stored)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), WHITE)
    np.testing.assert_array_equal(mask_of(read_picture(tmp_path / "m.png")).mask, WHITE)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (np.minimum(np.arange(63).reshape(9, 7), 5).astype(np.uint8), "6 values, the largest is 5"),
        (np.dstack([shape_of(0), shape_of(128), shape_of(128)]), "the mask has colours"),
        (np.zeros((9, 7), np.float32), "not a readable mask"),
    ],
)
def test_masks_whose_foreground_is_not_clear_are_refused(stored, message):
    ending = ".tiff" if stored.dtype == np.float32 else ".png"
    with pytest.raises(InputError, match=f"m.png: {message}") as error:
        decode_mask(cv2.imencode(ending, stored)[1].tobytes(), "m.png")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_truncated_jpeg_is_refused_by_name(tmp_path, pixels, share):
    path = tmp_path / "cut.jpg"
    cv2.imwrite(str(path), pixels)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=r"cut\.jpg: damaged JPEG"):
        read_photo(path)


def test_other_files_that_are_no_pictures(tmp_path):
    huge = tmp_path / "huge.png"  # its header asks for too many pixels
    cv2.imwrite(str(huge), np.zeros((9, 7), np.uint8))
    header = b"IHDR" + struct.pack(">IIBBBBB", 40000, 40000, 8, 0, 0, 0, 0)
    data = huge.read_bytes()
    huge.write_bytes(data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:])
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "empty.png").write_bytes(b"")
    for read, kind in ((read_photo, "picture"), (read_mask, "mask")):
        for name, message in (
            ("text.jpg", f"not a readable {kind}"),
            ("huge.png", f"not a readable {kind}"),
            ("empty.png", ""),
            ("gone.png", ""),
        ):
            with pytest.raises(InputError, match=f"{name}: {message}"):
                read(tmp_path / name)


def test_what_is_written_comes_back_and_nothing_half_written_is_left(tmp_path, pixels):
    write_photo(tmp_path / "a.png", pixels)
    np.testing.assert_array_equal(read_photo(tmp_path / "a.png"), pixels)
    with pytest.raises(InputError, match=r"use \.png or \.jpg"):
        write_photo(tmp_path / "a.xyz", pixels)
    (tmp_path / "file").write_text("a file where a folder should be")
    with pytest.raises(InputError, match="cannot be written"):
        write_photo(tmp_path / "file" / "a.png", pixels)
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "file"}
