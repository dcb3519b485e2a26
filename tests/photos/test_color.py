"""Colours against the formulas of their standards, which the project does not use itself."""

import struct

import imagecodecs
import numpy as np
import pytest
from PIL import ExifTags, Image

from harmony_jax import InputError
from harmony_jax.photos.color import Conversion, adobe_rgb, conversion_of, profile_of_code_points
from harmony_jax.photos.decoding import decode_picture
from harmony_jax.photos.folders import harmonize_picture
from harmony_jax.photos.picture import Picture
from tests.photos.files import file_of, noise, png_of

P3 = profile_of_code_points(12, 13)
ADOBE_RGB = adobe_rgb()
# Of linear light, to sRGB's: CSS Color 4.
P3_TO_SRGB = [
    [1.2249402, -0.2249402, 0],
    [-0.0420570, 1.0420570, 0],
    [-0.0196376, -0.0786360, 1.0982736],
]
ADOBE_TO_SRGB = [[1.3983557, -0.3983557, 0], [0, 1, 0], [0, -0.0429290, 1.0429290]]


def srgb_light(stored: np.ndarray) -> np.ndarray:
    return np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)


def srgb_stored(light: np.ndarray) -> np.ndarray:
    high = 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055
    return np.where(light <= 0.0031308, light * 12.92, high)


def p3_as_srgb(stored: np.ndarray) -> np.ndarray:
    """Numbers of Display P3 in [0, 1] as those of sRGB."""
    return srgb_stored(np.clip(srgb_light(stored) @ np.transpose(P3_TO_SRGB), 0, 1))


def srgb_as_p3(stored: np.ndarray) -> np.ndarray:
    return srgb_stored(np.clip(srgb_light(stored) @ np.linalg.inv(P3_TO_SRGB).T, 0, 1))


def adobe_as_srgb(stored: np.ndarray) -> np.ndarray:
    light = (stored ** (563 / 256)) @ np.transpose(ADOBE_TO_SRGB)
    return srgb_stored(np.clip(light, 0, 1))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("profile", "formula"), [(P3, p3_as_srgb), (ADOBE_RGB, adobe_as_srgb)], ids=["P3", "Adobe RGB"]
)
def test_colours_are_those_of_the_standard(profile, formula, kind):
    most = np.iinfo(kind).max
    pixels = noise(64, 64, 3, kind=kind)
    mask = np.zeros((64, 64), np.uint8)
    mask[:, 32:] = 1
    found = Conversion(profile).to_srgb(pixels, mask)
    error = np.abs(found / 65535 - formula(pixels / most)) * 255
    assert error[:, 32:].max() < 0.3  # the tables' own, in the darkest colours
    assert error[:, :32].mean() < 0.3  # of what only the network sees, which takes 8 bits


def smooth_picture() -> tuple[np.ndarray, np.ndarray]:
    """[0, 1] in sRGB, and within it in all other colours; and a mask."""
    rows, columns = np.mgrid[0:48, 0:64] / 64
    pixels = np.stack([0.3 + 0.4 * rows, 0.35 + 0.3 * columns, 0.6 - 0.3 * rows], -1)
    mask = np.zeros((48, 64), np.uint8)
    mask[12:36, 16:48] = 255
    return pixels, mask


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_photo_of_other_colours_becomes_what_its_conversion_becomes(tinting, kind):
    pixels, mask = smooth_picture()
    most = np.iinfo(kind).max
    plain = Picture(np.rint(pixels * most).astype(kind))
    wide = Picture(np.rint(srgb_as_p3(pixels) * most).astype(kind), icc_profile=P3)
    expected = harmonize_picture(tinting, plain, mask)[0].pixels / most
    found = harmonize_picture(tinting, wide, mask)[0]
    assert found.icc_profile == P3
    error = np.abs(p3_as_srgb(found.pixels / most) - expected) * 255
    assert error.max() < 3  # steps of 8 bits, of a change of up to 78
    np.testing.assert_array_equal(found.pixels[mask == 0], wide.pixels[mask == 0])
    untold = harmonize_picture(tinting, wide._replace(icc_profile=None), mask)[0].pixels
    error = np.abs(p3_as_srgb(untold / most) - expected) * 255
    assert error.max() > 10


def test_the_profile_of_a_pil_image_is_heeded(harmonizer):
    pixels, mask = smooth_picture()
    wide = Picture(np.rint(srgb_as_p3(pixels) * 255).astype(np.uint8), icc_profile=P3)
    image = Image.fromarray(wide.pixels)
    plain = harmonizer.harmonize(image, mask)
    image.info["icc_profile"] = P3
    first, second = harmonizer.harmonize([wide.pixels, image], [mask] * 2)
    np.testing.assert_array_equal(first, plain)
    np.testing.assert_array_equal(second, harmonize_picture(harmonizer, wide, mask)[0].pixels)
    assert (first != second).any()
    small = harmonizer.harmonize(image, mask, resolution=32)
    expected = harmonizer.harmonize(np.rint(pixels * 255).astype(np.uint8), mask, resolution=32)
    assert np.abs(small.astype(int) - expected).mean() < 0.6


def test_colours_that_srgb_has_not_stay_where_nothing_changes(harmonizer):
    pixels = noise(48, 64, 3)  # of all of P3
    _, mask = smooth_picture()
    picture = Picture(pixels, icc_profile=P3)
    found, _ = harmonize_picture(harmonizer, picture, mask, 0.0)
    np.testing.assert_array_equal(found.pixels, pixels)
    change = np.full((48, 64, 1), 2000, np.uint16)
    conversion = Conversion(P3)
    srgb = np.minimum(conversion.to_srgb(pixels, mask), 63_000)
    carried = conversion.carried_back(pixels, srgb, srgb + change, mask)
    assert (
        carried[mask > 0].astype(int) >= pixels[mask > 0]
    ).all()  # brighter, none clipped to sRGB


def test_srgb_by_any_name_is_left_alone():
    assert conversion_of(None) is None
    assert conversion_of(imagecodecs.cms_profile("srgb")) is None
    assert conversion_of(profile_of_code_points(1, 13)) is None
    assert conversion_of(b"no profile") is None
    assert conversion_of(P3) is not None


def test_greys_of_another_gamma():
    profile = imagecodecs.cms_profile("gray", gamma=1.0)
    grey = np.linspace(0, 255, 256).astype(np.uint8).reshape(16, 16)
    found = decode_picture(file_of(Image.fromarray(grey), "PNG", icc_profile=profile), "a.png")
    assert found.grey
    assert found.icc_profile == profile
    conversion = conversion_of(found.icc_profile)
    mask = np.full((16, 16), 255, np.uint8)
    srgb = conversion.to_srgb(found.pixels, mask)
    np.testing.assert_allclose(srgb[:, :, 1] / 65535, srgb_stored(grey / 255), atol=2e-3)
    brighter = conversion.carried_back(found.pixels, srgb, np.maximum(srgb, 30_000), mask)
    least = 255 * srgb_light(np.array(30_000 / 65535))
    np.testing.assert_allclose(brighter[:, :, 0], np.maximum(grey, least), atol=1)


def pixels_in_srgb(data: bytes) -> np.ndarray:
    picture = decode_picture(data, "a.png")
    conversion = conversion_of(picture.icc_profile)
    everywhere = np.ones(picture.pixels.shape[:2], np.uint8)
    if conversion is None:
        return picture.pixels / 255
    return conversion.to_srgb(picture.pixels, everywhere) / 65535


CICP_P3 = (b"cICP", bytes([12, 13, 0, 1]))
LINEAR = (b"gAMA", struct.pack(">I", 100_000))
P3_CORNERS = (b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000))
SRGB = (b"sRGB", b"\0")


@pytest.mark.parametrize(
    ("chunks", "formula"),
    [
        ([CICP_P3], p3_as_srgb),
        ([LINEAR, CICP_P3], p3_as_srgb),  # cICP counts most
        ([LINEAR], srgb_stored),
        ([LINEAR, SRGB], lambda stored: stored),
        ([(b"gAMA", struct.pack(">I", 45_455))], lambda stored: stored),
        ([(b"gAMA", struct.pack(">I", 45_455)), P3_CORNERS], p3_as_srgb),
        ([], lambda stored: stored),
    ],
)
def test_what_png_says_of_colours(chunks, formula):
    pixels = noise(16, 16, 3)
    found = pixels_in_srgb(png_of(pixels, 8, 2, *chunks))
    assert np.abs(found - formula(pixels / 255)).max() * 255 < 0.3


def test_a_camera_names_adobe_rgb_without_a_profile():
    fields = Image.Exif()
    for index, profile in (("R03", ADOBE_RGB), ("R98", None)):
        fields.get_ifd(ExifTags.IFD.Exif)[ExifTags.IFD.Interop] = {1: index}
        data = file_of(Image.new("RGB", (8, 8), (10, 200, 90)), "JPEG", exif=fields)
        assert decode_picture(data, "_DSC0001.jpg").icc_profile == profile


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_refused_by_name(transfer, name):
    pixels = np.zeros((8, 8, 3), np.uint8)
    data = png_of(pixels, 8, 2, (b"cICP", bytes([9, transfer, 0, 1])))
    with pytest.raises(InputError, match=rf"a\.png: an HDR picture \({name}\)"):
        decode_picture(data, "a.png")
    tag = b"cicp" + bytes(4) + bytes([9, transfer, 0, 1])
    profile = bytearray(P3)
    profile[132:144] = b"cicp" + struct.pack(">II", len(profile), len(tag))
    profile += tag
    data = file_of(Image.new("RGB", (8, 8)), "JPEG", icc_profile=bytes(profile))
    with pytest.raises(InputError, match=rf"a\.jpg: an HDR picture \({name}\)"):
        decode_picture(data, "a.jpg")


def test_an_unusable_profile_is_told_and_left_out(caplog):
    image = Image.new("RGB", (8, 8), (10, 200, 90))
    for profile in (b"damaged" * 40, imagecodecs.cms_profile("gray", gamma=2.2)):
        caplog.clear()
        found = decode_picture(file_of(image, "PNG", icc_profile=profile), "a.png")
        assert found.icc_profile is None
        assert "a.png: its colour profile is unusable" in caplog.text
