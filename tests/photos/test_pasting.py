import cv2
import imagecodecs
import numpy as np
import pytest

from harmony_jax import InputError
from harmony_jax.photos.color import profile_of_code_points
from harmony_jax.photos.pasting import Placement, paste
from harmony_jax.photos.picture import Picture
from tests.photos.files import noise


def cutout(kind: type = np.uint8) -> Picture:
    """20 x 30 pixels; rows 5 to 14 and columns 8 to 19 are visible."""
    alpha = np.zeros((20, 30), kind)
    alpha[5:15, 8:20] = np.iinfo(kind).max
    return Picture(noise(20, 30, 3, kind=kind), alpha)


BACKGROUND = Picture(noise(80, 100, 3), exif=b"Exif\0\0", icc_profile=None)


def box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """First and last row, first and last column of what is not 0."""
    rows, columns = np.nonzero(mask)
    return rows.min(), rows.max(), columns.min(), columns.max()


@pytest.mark.parametrize(
    ("placement", "expected"),
    [
        (Placement(), (35, 44, 43, 54)),  # its middle, margins and all, on the middle
        (Placement(at=(10, 20)), (25, 34, 18, 29)),
        (Placement(at=(-10, -8)), (0, 6, 0, 9)),  # cut off
        (Placement(at=(85, 60)), (65, 74, 93, 99)),
        (Placement(gravity="northwest"), (0, 9, 0, 11)),
        (Placement(gravity="north"), (0, 9, 44, 55)),
        (Placement(gravity="east"), (35, 44, 88, 99)),
        (Placement(gravity="center"), (35, 44, 44, 55)),
        (Placement(gravity="southeast"), (70, 79, 88, 99)),
    ],
)
def test_where_a_cutout_lies(placement, expected):
    cut = cutout()
    composite, mask = paste(cut, BACKGROUND, placement)
    assert box(mask) == expected
    np.testing.assert_array_equal(composite.pixels[mask == 0], BACKGROUND.pixels[mask == 0])
    if expected[0] > 0 and expected[3] < 99:  # whole
        np.testing.assert_array_equal(composite.pixels[mask > 0], cut.pixels[cut.alpha > 0])
    assert composite[1:] == BACKGROUND[1:]


def test_scale_and_fit():
    _, mask = paste(cutout(), BACKGROUND, Placement(at=(10, 4), scale=2))
    assert np.abs(np.subtract(box(mask > 127), (14, 33, 26, 49))).max() <= 1
    _, mask = paste(cutout(), BACKGROUND, Placement(scale=0.5))
    assert np.abs((mask / 255).sum() - 30) < 3
    _, mask = paste(cutout(), BACKGROUND, Placement(fit=0.5, gravity="south"))
    top, bottom, left, right = box(mask > 127)
    assert abs(bottom - 79) <= 1
    assert abs(bottom - top + 1 - 40) <= 2  # 50 of its 100 columns would be 42 of 80 rows
    assert abs(right - left + 1 - 48) <= 2


def test_what_a_transparent_pixel_hides_is_nowhere_seen():
    """Also where the cutout is made larger or smaller, and pixels mix."""
    cut = cutout()
    pixels = np.full_like(cut.pixels, 200)
    for scale in (0.4, 1.0, 2.7):
        results = []
        for hidden in (0, 255):
            pixels[cut.alpha == 0] = hidden
            placement = Placement(scale=scale)
            results.append(paste(Picture(pixels.copy(), cut.alpha), BACKGROUND, placement))
        np.testing.assert_array_equal(results[0][0].pixels, results[1][0].pixels)
        whole = results[0][1] == 255
        np.testing.assert_array_equal(results[0][0].pixels[whole], 200)


@pytest.mark.parametrize(("own", "other"), [(np.uint8, np.uint16), (np.uint16, np.uint8)])
def test_the_result_has_the_backgrounds_depth(own, other):
    cut, ground = cutout(own), Picture(noise(80, 100, 3, kind=other))
    composite, mask = paste(cut, ground, Placement(at=(10, 20)))
    assert composite.pixels.dtype == other
    np.testing.assert_array_equal(composite.pixels[mask == 0], ground.pixels[mask == 0])
    share = cut.pixels[cut.alpha > 0] / np.iinfo(own).max
    found = composite.pixels[mask > 0] / np.iinfo(other).max
    np.testing.assert_allclose(found, share, atol=0.51 / 255)


def test_a_transparent_background_becomes_opaque_under_the_cutout():
    ground = Picture(noise(80, 100, 3), noise(80, 100))
    cut = cutout()
    cut.alpha[7, 9] = 102
    composite, mask = paste(cut, ground, Placement(at=(10, 20)))
    np.testing.assert_array_equal(composite.alpha[mask == 0], ground.alpha[mask == 0])
    assert (composite.alpha[mask == 255] == 255).all()
    below = ground.alpha[27, 19] / 255 * 0.6
    assert composite.alpha[27, 19] == pytest.approx((0.4 + below) * 255, abs=0.6)
    mixed = (cut.pixels[7, 9] * 0.4 + ground.pixels[27, 19] * below) / (0.4 + below)
    np.testing.assert_allclose(composite.pixels[27, 19], mixed, atol=0.6)


def test_only_grey_on_grey_is_grey():
    for own in (True, False):
        for other in (True, False):
            grey = paste(cutout()._replace(grey=own), BACKGROUND._replace(grey=other))[0].grey
            assert grey == (own and other)


def test_colours_are_those_of_the_backgrounds_profile():
    """Pure red of sRGB is less than that of Adobe RGB: (219, 0, 0), in published tables."""
    adobe = bytes(imagecodecs.cms_profile("adobergb"))
    cut = cutout()
    cut.pixels[:] = (255, 0, 0)
    composite, mask = paste(cut, BACKGROUND._replace(icc_profile=adobe))
    np.testing.assert_allclose(composite.pixels[mask > 0], [[219, 0, 0]] * 120, atol=2)
    assert composite.icc_profile == adobe
    composite, mask = paste(cut._replace(icc_profile=adobe), BACKGROUND._replace(icc_profile=adobe))
    np.testing.assert_array_equal(composite.pixels[mask > 0], [[255, 0, 0]] * 120)


def test_colours_of_16_bits_are_converted_exactly():
    """From BT.2020's primaries to those of sRGB: in linear light a matrix of ITU-R BT.2407."""
    wide = profile_of_code_points(9, 4)
    rows = np.linspace(0, 40_000, 20 * 30).astype(np.uint16).reshape(20, 30)
    cut = cutout(np.uint16)._replace(
        pixels=np.stack([rows, rows[::-1], rows[:, ::-1]], 2), icc_profile=wide
    )
    sixteen = Picture(noise(80, 100, 3, kind=np.uint16), icc_profile=profile_of_code_points(1, 8))
    composite, mask = paste(cut, sixteen)
    to_srgb = [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
    light = (cut.pixels[cut.alpha > 0] / 65535) ** 2.2 @ np.transpose(to_srgb)
    np.testing.assert_allclose(composite.pixels[mask > 0] / 65535, np.clip(light, 0, 1), atol=2e-4)


OPAQUE = np.full((20, 30), 255, np.uint8)


@pytest.mark.parametrize(
    ("cut", "placement", "message"),
    [
        (Picture(noise(20, 30, 3)), Placement(), "no alpha channel"),
        (Picture(noise(20, 30, 3), OPAQUE), Placement(), "is opaque everywhere"),
        (Picture(noise(20, 30, 3), OPAQUE * 0), Placement(), "is transparent everywhere"),
        (cutout(), Placement(at=(100, 0)), "30 x 20 pixels at 100,0, lies outside"),
        (cutout(), Placement(at=(93, 0)), "lies outside of the background, 100 x 80"),
        (cutout(), Placement(scale=1000), "30000 x 20000 pixels, 1000 times .* 200 megapixels"),
        (cutout(), Placement(scale=0), "scale 0: expected more than 0"),
        (cutout(), Placement(fit=float("nan")), "fit nan: expected more than 0"),
        (cutout(), Placement(at=(0, 0), gravity="south"), "at and gravity"),
        (cutout(), Placement(scale=1, fit=1), "scale and fit"),
    ],
)
def test_what_cannot_be_pasted(cut, placement, message):
    with pytest.raises(InputError, match=message):
        paste(cut, BACKGROUND, placement)


def test_large_pictures_are_mixed_in_strips_that_do_not_show():
    """More pixels than are computed at once."""
    alpha = cv2.resize(noise(3, 4), (1300, 900), interpolation=cv2.INTER_LINEAR)
    cut, ground = Picture(noise(900, 1300, 3), alpha), Picture(noise(900, 1300, 3))
    composite, mask = paste(cut, ground)
    share = alpha[:, :, None] / 255
    expected = ground.pixels + (cut.pixels.astype(float) - ground.pixels) * share
    np.testing.assert_allclose(composite.pixels, expected, atol=0.51)
    np.testing.assert_array_equal(mask, alpha)
