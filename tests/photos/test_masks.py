import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from harmony_jax import InputError
from harmony_jax.photos.decoding import decode_picture, picture_of
from harmony_jax.photos.masks import (
    check_mask,
    cut_out,
    fill_hidden,
    fit_size,
    looks_inverted,
    mask_of,
)
from harmony_jax.photos.picture import Picture
from tests.photos.files import file_of, noise


def square(height: int = 40, width: int = 60) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : height // 2, width // 4 : width // 2] = 255
    return mask


def rgb(channel: np.ndarray) -> np.ndarray:
    return np.repeat(channel[:, :, None], 3, 2)


def painted(background, *paints, size=(60, 40)) -> Image.Image:
    """Rectangles side by side, a colour each; the first lies where `square` is white."""
    image = Image.new("RGB", size, background)
    for number, paint in enumerate(paints):
        left = 15 + 16 * number
        image.paste(paint, (left, 10, left + 15, 20))
    return image


def found(image: Image.Image | Picture, wanted=()) -> np.ndarray:
    return mask_of(image if isinstance(image, Picture) else picture_of(image), wanted).mask


def test_shades_of_grey_are_a_soft_mask():
    shades = noise(50, 70)
    for picture in (Picture(rgb(shades)), Picture(rgb(shades), grey=True)):
        assert mask_of(picture) == (pytest.approx(shades), None)


@pytest.mark.parametrize(
    ("background", "paint"),
    [
        ("black", "white"),
        ("black", (128, 0, 0)),  # PASCAL VOC
        ("black", "lime"),
        ("black", "blue"),
        ("black", (1, 1, 1)),
        ((40, 40, 40), (90, 90, 90)),
        ("white", "red"),
        ("blue", "yellow"),
    ],
)
def test_any_two_values_are_a_mask(background, paint):
    mask, remark = mask_of(picture_of(painted(background, paint)))
    np.testing.assert_array_equal(mask, square())
    guessed = background in ("white", "blue")
    assert (remark is not None) == guessed
    if guessed:
        assert "along the border" in remark


def test_a_palette_of_two_colours_in_any_order():
    indices = Image.fromarray((square() == 0).astype(np.uint8), "P")
    indices.putpalette([0, 0, 128, 0, 0, 0])  # index 1, black, is the background
    np.testing.assert_array_equal(found(indices), square())


@pytest.mark.parametrize("paint", ["lime", "blue", "red", "white"])
@pytest.mark.parametrize("lossy", [None, ("JPEG", 80), ("WEBP", 60)])
def test_soft_edges_of_any_colour(paint, lossy):
    """Against how much of each pixel was painted."""
    large = Image.new("RGB", (1200, 800))
    ImageDraw.Draw(large).ellipse((300, 200, 900, 600), fill=paint)
    image = large.resize((300, 200), Image.Resampling.BOX)
    share = Image.fromarray(np.asarray(large).max(2)).resize((300, 200), Image.Resampling.BOX)
    if lossy:
        mask = found(decode_picture(file_of(image, lossy[0], quality=lossy[1]), "x"))
        assert np.abs(mask.astype(int) - np.asarray(share)).mean() < 2
    else:
        np.testing.assert_allclose(found(image), np.asarray(share), atol=1)


@pytest.mark.parametrize(("background", "paint"), [("white", "red"), ("blue", "yellow")])
def test_hard_edges_of_two_colours_in_a_bad_jpeg(background, paint):
    image = painted(background, paint).resize((300, 200), Image.Resampling.NEAREST)
    expected = np.asarray(Image.fromarray(square()).resize((300, 200), Image.Resampling.NEAREST))
    mask = found(decode_picture(file_of(image, "JPEG", quality=50), "x"))
    assert np.abs(mask.astype(int) - expected).mean() < 3


@pytest.mark.parametrize("colour", ["noise", 0, 255])
def test_an_alpha_channel_that_is_not_constant_is_the_mask(colour):
    pixels = noise(40, 60, 3) if colour == "noise" else np.full((40, 60, 3), colour)
    np.testing.assert_array_equal(found(Picture(pixels.astype(np.uint8), square())), square())
    opaque = np.full((40, 60), 255, np.uint8)
    np.testing.assert_array_equal(found(Picture(rgb(square()), opaque)), square())
    np.testing.assert_array_equal(found(Picture(rgb(square() * 0), opaque)), 0)


def test_of_several_values_all_but_the_background_are_foreground_and_it_says_so():
    instances = painted("black", (128, 0, 0), (0, 128, 0), (224, 224, 192))
    everything = np.asarray(instances).any(2)
    mask, remark = mask_of(picture_of(instances))
    np.testing.assert_array_equal(mask == 255, everything)
    assert "3 values besides its background 0,0,0 (0,128,0; 128,0,0; 224,224,192)" in remark
    labels = np.zeros((40, 60), np.uint16)
    labels[10:20, 15:30], labels[20:30, 15:30], labels[5:10, :20] = 1, 2, 300
    mask, remark = mask_of(Picture(rgb(labels), grey=True))
    np.testing.assert_array_equal(mask == 255, labels > 0)
    assert "3 values besides its background 0 (1; 2; 300)" in remark


def parts(*values: int, kind: type = np.uint8) -> Picture:
    """Squares of 12 pixels on 0, one of each value, the second with a seam of 255 around it."""
    labels = np.zeros((20, 20 * len(values)), kind)
    for number, value in enumerate(values):
        labels[4:16, 20 * number + 4 : 20 * number + 16] = value
    labels[3, 23:37] = labels[16, 23:37] = 255
    labels[3:17, 23] = labels[3:17, 36] = 255
    return Picture(rgb(labels), grey=True)


@pytest.mark.parametrize(
    "picture",
    [
        parts(15, 15),  # PASCAL VOC's indices, with its 255 for what is not told
        parts(85, 170, 255),
        parts(*range(6, 252, 5)),
        parts(1, 2, 200, 255, kind=np.uint16),
        Picture(rgb(cv2.dilate(square(), np.ones((9, 9))) // 255 + square() // 255), grey=True),
    ],
)
def test_labels_with_white_among_them(picture):
    mask, remark = mask_of(picture)
    np.testing.assert_array_equal(mask == 255, picture.pixels[:, :, 0] > 0)
    assert "besides its background 0" in remark


def test_softness_in_few_shades_is_no_labels():
    square = np.zeros((90, 90), np.float32)
    square[25:65, 25:65] = 255
    for width, shades in ((9, 5), (9, 18), (31, 9), (31, 256)):  # blurred, and rounded to so many
        blurred = cv2.blur(square, (width, width))
        step = 255 / (shades - 1)
        soft = np.rint(np.rint(blurred / step) * step).astype(np.uint8)
        assert mask_of(Picture(rgb(soft), grey=True)) == (pytest.approx(soft), None)
    edges = cv2.resize(square[20:70, 20:70], (41, 41), interpolation=cv2.INTER_AREA)
    soft = np.rint(edges).astype(np.uint8)
    assert mask_of(Picture(rgb(soft), grey=True)).remark is None


def test_half_of_white_is_half_of_the_change_and_it_says_so():
    picture = parts(128, 128)
    mask, remark = mask_of(picture)
    np.testing.assert_array_equal(mask, picture.pixels[:, :, 0])
    assert "128, 50% of the change" in remark


def test_wanted_values_are_the_foreground():
    instances = painted("black", (128, 0, 0), (0, 128, 0))
    np.testing.assert_array_equal(found(instances, [(128, 0, 0)]), square())
    both = found(instances, [(128, 0, 0), (0, 128, 0)])
    np.testing.assert_array_equal(both == 255, np.asarray(instances).any(2))
    labels = Picture(rgb((square() // 255).astype(np.uint16) * 7), grey=True)
    np.testing.assert_array_equal(found(labels, [(7,)]), square())
    np.testing.assert_array_equal(found(labels, [(0,)]), 255 - square())
    with pytest.raises(InputError, match=r"no pixel of value 9: it has 0; 7"):
        mask_of(labels, [(9,)])
    with pytest.raises(InputError, match=r"value 15: it has 0,0,0; 0,128,0; 128,0,0"):
        mask_of(picture_of(instances), [(15,)])


@pytest.mark.parametrize("colors", [None, 256])
def test_a_photo_is_refused(colors):
    low = Image.fromarray(noise(6, 9, 3))
    photo = low.resize((180, 120), Image.Resampling.BICUBIC)
    if colors:
        photo = photo.quantize(colors).convert("RGB")
    count = len(np.unique(np.asarray(photo).reshape(-1, 3), axis=0))
    with pytest.raises(InputError, match=f"the mask has {count:,} colours"):
        found(photo)


def test_16_bits_become_8():
    shades = noise(9, 9)
    np.testing.assert_array_equal(found(Picture(rgb(shades.astype(np.uint16) * 257))), shades)


def test_a_mask_of_another_size_covers_the_same_place():
    for height, width in ((80, 120), (20, 30), (33, 200)):
        fitted = fit_size(square(), height, width)
        assert fitted.shape == (height, width)
        assert abs(fitted.mean() - square().mean()) < 1
        assert fitted[int(height * 0.35), int(width * 0.35)] == 255


@pytest.mark.parametrize("size", [(60, 40), (120, 80), (450, 300)])
def test_a_mask_that_lies_where_the_photo_stands_is_refused(size):
    with pytest.raises(InputError, match=rf"mask is 60 x 40, the photo {size[1]} x {size[0]} .*90"):
        fit_size(square(), *size)


def test_hidden_colours_are_filled_from_the_nearest_visible():
    pixels = noise(30, 40, 3)
    alpha = np.zeros((30, 40), np.uint8)
    alpha[:, :20], alpha[:, 30:] = 255, 1
    filled = fill_hidden(pixels, alpha)
    np.testing.assert_array_equal(filled[alpha > 0], pixels[alpha > 0])
    np.testing.assert_array_equal(filled[:, 20:24], np.repeat(pixels[:, 19:20], 4, 1))
    np.testing.assert_array_equal(filled[:, 26:30], np.repeat(pixels[:, 30:31], 4, 1))
    other = pixels.copy()
    other[alpha == 0] = 0
    np.testing.assert_array_equal(fill_hidden(other, alpha), filled)


def test_a_photo_is_cut_out_where_mask_and_alpha_are():
    pixels, half = np.zeros((40, 60, 3), np.uint16), np.full((40, 60), 30000, np.uint16)
    np.testing.assert_array_equal(
        cut_out(Picture(pixels), square()).alpha, square() * np.uint16(257)
    )
    cut = cut_out(Picture(pixels, half), square()).alpha
    np.testing.assert_array_equal(cut, np.where(square() > 0, 30000, 0))


@pytest.mark.parametrize(
    ("mask", "inverted"),
    [
        (square(), False),
        (255 - square(), True),
        (np.rot90(255 - square()), True),
        (np.pad(np.full((20, 40), 255, np.uint8), ((20, 0), (10, 10))), False),  # cut by a side
    ],
)
def test_inverted_masks_are_white_along_the_border(mask, inverted):
    assert looks_inverted(mask) == inverted


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((4, 4), np.uint8), "no foreground: its largest value is 0"),
        (square() // 255, "no foreground: its largest value is 1, .*: white is 255"),
        (np.full((4, 4), 255, np.uint8), "no background to fit to: its smallest value is 255"),
        (np.full((1, 1), 255, np.uint8), "1 x 1 pixels: too small"),
    ],
)
def test_masks_without_foreground_or_background(mask, message):
    with pytest.raises(InputError, match=message):
        check_mask(mask)
