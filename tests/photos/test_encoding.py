"""Written files, read back by PIL, tifffile and the project itself."""

import io
import logging
import re
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image

from harmony_jax import InputError
from harmony_jax.photos.decoding import decode_picture, read_picture
from harmony_jax.photos.encoding import JpegOptions, encode_picture, write_picture
from harmony_jax.photos.picture import Companions, Picture, to_eight_bits
from tests.photos.files import exif, file_of, noise, smooth

PROFILE = imagecodecs.cms_profile("adobergb")
DOCS = (Path(__file__).parents[2] / "docs" / "harmonize.md").read_text()


@pytest.mark.parametrize("ending", [".png", ".tif", ".webp"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("has_alpha", [False, True])
def test_every_pixel_comes_back(ending, kind, grey, has_alpha, tmp_path):
    pixels, alpha = noise(20, 30, 3, kind=kind), noise(20, 30, kind=kind)
    alpha[:9] = 0  # colours are kept also where nothing is seen
    if grey:
        pixels = np.repeat(pixels[:, :, :1], 3, 2)
    picture = Picture(pixels, alpha if has_alpha else None, grey, PROFILE, exif().tobytes())
    write_picture(tmp_path / f"a{ending}", picture)
    found = read_picture(tmp_path / f"a{ending}")
    expected = to_eight_bits(picture) if ending == ".webp" else picture
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    if has_alpha:
        np.testing.assert_array_equal(found.alpha, expected.alpha)
    else:
        assert found.alpha is None
    stored_with_colour = ending == ".webp" or (has_alpha and kind == np.uint16)
    assert found.grey == (grey and not stored_with_colour)
    if not found.grey:
        assert found.icc_profile == PROFILE
    with Image.open(tmp_path / f"a{ending}") as image:
        fields = image.getexif()
        assert fields[ExifTags.Base.Make] == "Maker"
        assert fields.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] == 200
    if ending == ".tif":  # another library reads the same
        other = np.atleast_3d(tifffile.imread(tmp_path / "a.tif"))
        np.testing.assert_array_equal(other[:, :, 0], pixels[:, :, 0])


def test_a_profile_of_grey_stays_out_of_files_with_colour(caplog):
    profile = imagecodecs.cms_profile("gray", gamma=1.8)
    grey = Picture(np.full((8, 8, 3), 9, np.uint8), grey=True, icc_profile=profile)
    for ending, kept in ((".png", True), (".jpg", True), (".tif", True), (".webp", False)):
        caplog.clear()
        found = decode_picture(encode_picture(grey, ending), "a").icc_profile
        assert found == (profile if kept else None)
        assert ("holds no profile of grey" in caplog.text) != kept


def test_16_bits_are_rounded_where_the_format_has_8():
    values = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    narrow = to_eight_bits(Picture(np.repeat(values[:, :, None], 3, 2), values))
    np.testing.assert_array_equal(narrow.pixels[:, :, 0].astype(int) * 257, values)
    np.testing.assert_array_equal(narrow.alpha.astype(int) * 257, values)
    deep = Picture(np.full((8, 8, 3), 40_000, np.uint16))
    found = decode_picture(encode_picture(deep, ".jpg"), "photo")
    assert np.abs(found.pixels.astype(int) - round(40_000 / 257)).max() <= 1


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match=r"a\.xyz: the ending '\.xyz' is unknown"):
        write_picture(tmp_path / "a.xyz", Picture(smooth()))
    with pytest.raises(InputError, match=r"a\.webp: 1 x 17000 pixels cannot be written as \.webp"):
        write_picture(tmp_path / "a.webp", Picture(np.zeros((17_000, 1, 3), np.uint8)))
    assert not list(tmp_path.iterdir())


def again(data: bytes, ending: str, *options) -> Image.Image:
    jpeg = JpegOptions(*options)
    return Image.open(io.BytesIO(encode_picture(decode_picture(data, "photo"), ending, jpeg)))


@pytest.mark.parametrize("quality", [30, 98])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_is_compressed_as_it_was(quality, subsampling, mode):
    image = Image.fromarray(smooth(64, 96)).convert(mode)
    data = file_of(image, "JPEG", quality=quality, subsampling=subsampling)
    before, after = Image.open(io.BytesIO(data)), again(data, ".jpg")
    assert after.quantization == before.quantization
    if mode == "RGB":
        assert after.layer == before.layer
    change = np.asarray(after).astype(float) - np.asarray(before)
    assert np.abs(change).mean() < 1


def test_a_jpeg_that_is_turned_is_compressed_as_it_was():
    data = file_of(smooth(64, 96), "JPEG", quality=40, subsampling=2, exif=exif(6))
    before, after = Image.open(io.BytesIO(data)), again(data, ".jpg")
    for number, table in before.quantization.items():
        turned = np.reshape(table, (8, 8)).T.ravel()
        np.testing.assert_array_equal(after.quantization[number], turned)
    expected = np.rot90(np.asarray(before), -1).astype(float)
    assert np.abs(np.asarray(after) - expected).mean() < 1


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("JPEG", (), (30, "4:2:0")),
        ("JPEG", (80,), (80, "4:2:0")),
        ("JPEG", (None, "4:4:4"), (30, "4:4:4")),
        ("JPEG", (90, "4:2:2"), (90, "4:2:2")),
        ("PNG", (), (95, "4:4:4")),
        ("PNG", (50, "4:2:0"), (50, "4:2:0")),
    ],
)
def test_options_of_jpeg(kind, options, expected):
    stored = {"quality": 30, "subsampling": 2} if kind == "JPEG" else {}
    found = again(file_of(smooth(), kind, **stored), ".jpg", *options)
    quality, subsampling = expected
    made = Image.open(
        io.BytesIO(file_of(smooth(), "JPEG", quality=quality, subsampling=subsampling))
    )
    assert (found.quantization, found.layer[0][1:3]) == (made.quantization, made.layer[0][1:3])


def full_picture() -> Picture:
    fields = Image.Exif()
    fields[ExifTags.Base.Make] = "Maker"
    fields[0x4746] = 5  # Windows' rating
    pixels = noise(16, 16, kind=np.uint16)
    return Picture(
        np.repeat(pixels[:, :, None], 3, 2),
        pixels[::-1].copy(),
        False,
        PROFILE,
        fields.tobytes(),
        Companions(
            resolution=(300.0, 300.0),
            xmp=b"<x:xmpmeta/>",
            iptc=b"\x1c\x02\x05\0\1T",
            text=((b"tEXt", b"workflow\0{}"),),
            geo=((34737, 2, "UTM|"),),
        ),
    )


def is_kept(what: str, picture: Picture, ending: str) -> bool:
    found = decode_picture(encode_picture(picture, ending), "a" + ending)
    fields = Image.Exif()
    fields.load(found.exif or b"")
    if what == "16 bits":
        return found.pixels.dtype == np.uint16
    if what == "alpha":
        return found.alpha is not None
    if what == "grey":
        plain = picture._replace(grey=True, alpha=None, icc_profile=None)
        return decode_picture(encode_picture(plain, ending), "a" + ending).grey
    if what == "ICC profile":
        return found.icc_profile == picture.icc_profile
    if what == "EXIF":
        return fields.get(ExifTags.Base.Make) == "Maker" and fields.get(0x4746) == 5
    if what == "resolution":  # WebP has it in EXIF
        resolution = found.companions.resolution or (fields.get(ExifTags.Base.XResolution, 0),)
        return abs(float(resolution[0]) - 300) < 0.02
    field = {"XMP": "xmp", "IPTC": "iptc", "PNG texts": "text", "GeoTIFF": "geo"}[what]
    return getattr(found.companions, field) == getattr(picture.companions, field)


def test_what_is_kept_is_documented(caplog):
    """The second table of docs/harmonize.md; a warning names what is not kept."""
    caplog.set_level(logging.WARNING)
    lines = DOCS[DOCS.index("| written | kept |") :].split("\n\n")[0].splitlines()[2:]
    kept = {name: cell.split(", ") for name, cell in (re.findall(r"[^|]+[^| ]", x) for x in lines)}
    kept = {name.strip(): {one.strip() for one in cells} for name, cells in kept.items()}
    endings = {"JPEG": ".jpg", "PNG": ".png", "WebP": ".webp", "TIFF": ".tif", "BMP": ".bmp"}
    assert list(kept) == list(endings)
    everything = set().union(*kept.values())
    assert len(everything) == 10
    said = {"alpha": "alpha channel", "PNG texts": "PNG's texts", "GeoTIFF": "GeoTIFF's fields"}
    for name, ending in endings.items():
        for what in everything:
            caplog.clear()
            assert is_kept(what, full_picture(), ending) == (what in kept[name]), (what, name)
            if what in said or what in ("XMP", "IPTC"):
                assert (said.get(what, what) in caplog.text) == (what not in kept[name])
