import numpy as np
import pytest

from harmony_jax import InputError
from harmony_jax.photos.formats import Picture
from harmony_jax.photos.masks import check_mask, fit_size, looks_inverted, mask_of

RNG = np.random.default_rng(0)


def square(height: int = 40, width: int = 60) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : height // 2, width // 4 : width // 2] = 255
    return mask


def rgb(channel: np.ndarray) -> np.ndarray:
    return np.repeat(channel[:, :, None], 3, 2)


def test_the_first_channel_is_the_mask():
    pixels = RNG.integers(0, 256, (5, 7, 3)).astype(np.uint8)
    opaque = np.full((5, 7), 255, np.uint8)
    np.testing.assert_array_equal(mask_of(Picture(pixels)), pixels[:, :, 0])
    np.testing.assert_array_equal(mask_of(Picture(pixels, opaque)), pixels[:, :, 0])
    np.testing.assert_array_equal(mask_of(Picture(pixels, square(5, 7))), pixels[:, :, 0])


@pytest.mark.parametrize("colour", [0, 255])
def test_a_selection_saved_as_transparency_is_the_mask(colour):
    pixels = np.full((40, 60, 3), colour, np.uint8)
    np.testing.assert_array_equal(mask_of(Picture(pixels, square())), square())


def test_an_opaque_picture_of_one_colour_is_no_selection():
    black = Picture(np.zeros((9, 9, 3), np.uint8), np.full((9, 9), 255, np.uint8))
    np.testing.assert_array_equal(mask_of(black), 0)


def test_16_bits_become_8():
    np.testing.assert_array_equal(mask_of(Picture(rgb(square().astype(np.uint16) * 257))), square())


def test_a_mask_of_another_size_covers_the_same_place():
    for height, width in ((80, 120), (20, 30), (33, 200)):
        found = fit_size(square(), height, width)
        assert found.shape == (height, width)
        assert abs(found.mean() - square().mean()) < 1
        assert found[int(height * 0.35), int(width * 0.35)] == 255


@pytest.mark.parametrize(
    ("mask", "inverted"),
    [(square(), False), (255 - square(), True), (np.rot90(255 - square()), True)],
)
def test_inverted_masks_are_white_along_the_border(mask, inverted):
    assert looks_inverted(mask) == inverted


def test_a_foreground_cut_by_one_side_is_not_inverted():
    mask = square()
    mask[20:, 10:50] = 255
    assert not looks_inverted(mask)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((4, 4), np.uint8), "no foreground: its largest value is 0, foreground is above"),
        (square() // 255, "no foreground: its largest value is 1, .*: white is 255"),
        (np.full((4, 4), 255, np.uint8), "no background to fit to: its smallest value is 255"),
        (np.full((1, 1), 255, np.uint8), "1 x 1 pixels: too small"),
    ],
)
def test_masks_without_foreground_or_background(mask, message):
    with pytest.raises(InputError, match=message):
        check_mask(mask)


def test_masks_with_both():
    check_mask(square())
    check_mask(np.array([[0, 255]], np.uint8))
