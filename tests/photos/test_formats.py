import faulthandler
import io
import struct
import zlib

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms, TiffImagePlugin
from PIL.TiffImagePlugin import IFDRational

from harmony_jax import InputError
from harmony_jax.photos.formats import (
    Picture,
    decode_picture,
    encode_picture,
    picture_of,
    read_picture,
    to_eight_bits,
    write_picture,
)
from tests.photos import heic_files

RNG = np.random.default_rng(0)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LOSSLESS = (".png", ".tif", ".webp")

# PIL's own, of damaged files; commands turn them off.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::RuntimeWarning:PIL")


def smooth(height: int = 40, width: int = 56, channels: int = 4) -> np.ndarray:
    low = RNG.integers(0, 256, (5, 7, channels)).astype(np.uint8)
    return cv2.resize(low, (width, height), interpolation=cv2.INTER_LINEAR)


def file_of(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation: int | None = None) -> Image.Exif:
    fields = Image.Exif()
    if orientation is not None:
        fields[ExifTags.Base.Orientation] = orientation
    fields[ExifTags.Base.Make] = "Maker"
    fields[ExifTags.Base.Copyright] = "Somebody"
    fields.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] = 200
    fields.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    return fields


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_rgb_pixels_are_those_of_the_file(kind, tmp_path):
    pixels = smooth()[:, :, :3]
    path = tmp_path / "photo"
    path.write_bytes(file_of(Image.fromarray(pixels), kind))
    found = read_picture(path)
    expected = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    assert np.abs(found.pixels.astype(int) - expected).max() <= (kind in ("JPEG", "WEBP"))
    assert found.pixels.dtype == np.uint8
    assert found.alpha is None
    assert not found.grey


@pytest.mark.parametrize("mode", ["L", "1", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_kinds_of_pixels(mode):
    image = Image.fromarray(smooth()).convert("RGB" if mode == "CMYK" else "RGBA")
    image = image.convert("RGB").convert(mode) if mode in ("P", "YCbCr") else image.convert(mode)
    kind = "JPEG" if mode == "YCbCr" else "TIFF" if mode == "CMYK" else "PNG"
    data = file_of(image, kind)
    found = decode_picture(data, "photo")
    reopened = Image.open(io.BytesIO(data))
    np.testing.assert_array_equal(found.pixels, np.asarray(reopened.convert("RGB")))
    assert found.grey == (mode in ("L", "1", "LA"))
    if mode in ("LA", "RGBA"):
        np.testing.assert_array_equal(found.alpha, np.asarray(image.getchannel("A")))
    else:
        assert found.alpha is None


def test_a_transparent_palette_has_an_alpha_channel():
    image = Image.fromarray(smooth()[:, :, :3]).quantize(16)
    found = decode_picture(file_of(image, "PNG", transparency=3), "photo")
    np.testing.assert_array_equal(found.alpha, np.where(np.asarray(image) == 3, 0, 255))


def test_cmyk_goes_through_its_profile_and_leaves_it_behind():
    cmyk = Image.fromarray(smooth()).convert("RGB").convert("CMYK")
    # There is no ink profile at hand, so an unusable one: it is told and left out.
    found = decode_picture(file_of(cmyk, "TIFF", icc_profile=PROFILE), "photo")
    np.testing.assert_array_equal(found.pixels, np.asarray(cmyk.convert("RGB")))
    assert found.icc_profile is None


@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bits_stay_16_bits(ending, channels, tmp_path):
    stored = RNG.integers(0, 65536, (30, 50, channels)).astype(np.uint16)
    grey = channels < 3
    picture = Picture(
        np.repeat(stored[:, :, :1], 3, 2) if grey else stored[:, :, :3],
        stored[:, :, -1] if channels in (2, 4) else None,
        grey,
        PROFILE,
        exif().tobytes(),
    )
    path = tmp_path / f"deep{ending}"
    write_picture(path, picture)
    found = read_picture(path)
    np.testing.assert_array_equal(found.pixels, picture.pixels)
    assert found.icc_profile == PROFILE
    with Image.open(path) as image:
        fields = image.getexif()
        assert fields[ExifTags.Base.Make] == "Maker"
        assert fields.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] == 200
    if picture.alpha is None:
        assert found.alpha is None
    else:
        np.testing.assert_array_equal(found.alpha, picture.alpha)
    if ending == ".tif":  # another library reads the same
        other = np.atleast_3d(tifffile.imread(path))
        np.testing.assert_array_equal(other[:, :, [0, -1]], stored[:, :, [0, -1]])


def test_16_bits_from_other_programs(tmp_path):
    stored = RNG.integers(0, 65536, (30, 50, 3)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif").pixels, stored)
    tifffile.imwrite(tmp_path / "scan.tif", stored[:, :, 0], photometric="miniswhite")
    np.testing.assert_array_equal(
        read_picture(tmp_path / "scan.tif").pixels[:, :, 2], 65535 - stored[:, :, 0]
    )
    Image.fromarray(stored[:, :, 0]).save(tmp_path / "grey.png")
    found = read_picture(tmp_path / "grey.png")
    np.testing.assert_array_equal(found.pixels[:, :, 1], stored[:, :, 0])
    assert found.grey


def tiff(path, pixels: np.ndarray, **options) -> Picture:
    tifffile.imwrite(path, pixels, **options)
    return read_picture(path)


def test_separate_planes(tmp_path):
    for kind in (np.uint8, np.uint16):
        planes = RNG.integers(0, np.iinfo(kind).max + 1, (3, 30, 50)).astype(kind)
        found = tiff(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
        np.testing.assert_array_equal(found.pixels, np.moveaxis(planes, 0, -1))


@pytest.mark.parametrize(
    "options",
    [
        {"byteorder": ">"},
        {"compression": "lzw", "predictor": True},
        {"compression": "zstd"},
        {"compression": "lzma"},
        {"compression": "packbits"},
        {"compression": "adobe_deflate", "tile": (16, 32), "byteorder": ">"},
        {"bigtiff": True},
    ],
)
def test_16_bits_as_other_programs_store_them(options, tmp_path):
    stored = RNG.integers(0, 65536, (30, 50, 3)).astype(np.uint16)
    found = tiff(tmp_path / "a.tif", stored, photometric="rgb", **options)
    np.testing.assert_array_equal(found.pixels, stored)
    assert found.pixels.dtype.isnative


def test_deep_pixels_of_another_kind_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"not taken \(signed numbers of 16 bits\): save"):
        tiff(tmp_path / "a.tif", np.zeros((9, 9), np.int16))


def test_a_deep_tiff_that_lacks_something_is_refused(tmp_path):
    stored = RNG.integers(0, 65536, (30, 50, 3)).astype(np.uint16)
    for number, options in enumerate(({}, {"compression": "lzw"}, {"compression": "zstd"})):
        path = tmp_path / f"{number}.tif"
        tifffile.imwrite(path, stored, photometric="rgb", rowsperstrip=7, **options)
        data = path.read_bytes()
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            end = page.dataoffsets[-1] + page.databytecounts[-1]
            counts = page.tags["StripByteCounts"]
        for kept in (end - 1, end - 100, end // 2, 300):
            with pytest.raises(InputError, match=r"damaged TIFF \(some of the pixels"):
                decode_picture(data[:kept], "photo.tif")
        empty = bytearray(data)
        size = {3: 2, 4: 4}[counts.dtype]
        empty[counts.valueoffset : counts.valueoffset + size] = bytes(size)
        with pytest.raises(InputError, match=r"damaged TIFF \(some of the pixels"):
            decode_picture(bytes(empty), "photo.tif")


def test_a_fourth_channel_of_16_bits_is_what_the_file_says(tmp_path):
    stored = RNG.integers(0, 65536, (30, 50, 4)).astype(np.uint16)
    stored[:, :, 3] = RNG.integers(20_000, 65536, (30, 50))
    colors, alpha = stored[:, :, :3], stored[:, :, 3:]
    options = {"photometric": "rgb", "extrasamples": ["unassalpha"]}
    found = tiff(tmp_path / "a.tif", stored, **options)
    np.testing.assert_array_equal(found.pixels, colors)
    np.testing.assert_array_equal(found.alpha, alpha[:, :, 0])
    found = tiff(tmp_path / "b.tif", stored, **options | {"extrasamples": ["unspecified"]})
    np.testing.assert_array_equal(found.pixels, colors)
    assert found.alpha is None
    dark = np.concatenate([np.rint(colors * (alpha / 65535)), alpha], 2).astype(np.uint16)
    found = tiff(tmp_path / "c.tif", dark, **options | {"extrasamples": ["assocalpha"]})
    np.testing.assert_allclose(found.pixels, colors, atol=2)
    np.testing.assert_array_equal(found.alpha, alpha[:, :, 0])


def test_cmyk_of_16_bits(tmp_path):
    inks = smooth().astype(np.uint16) * 257
    found = tiff(tmp_path / "a.tif", inks, photometric="separated")
    expected = Image.fromarray((inks // 257).astype(np.uint8), "CMYK").convert("RGB")
    np.testing.assert_allclose(found.pixels, np.asarray(expected), atol=1)


def test_grey_of_12_bits_keeps_its_range(tmp_path):
    """Two values in three bytes, as scientific cameras write them."""
    values = RNG.integers(0, 4096, (30, 50)).astype(np.uint16)
    first, second = values.reshape(-1, 2).T
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], 1)
    directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    fields = {256: 50, 257: 30, 258: 12, 259: 1, 262: 1, 273: 0, 277: 1, 278: 30, 279: packed.size}
    for tag, value in fields.items():
        directory[tag] = value
    buffer = io.BytesIO()
    directory.save(buffer)
    buffer.write(packed.astype(np.uint8).tobytes())
    found = decode_picture(buffer.getvalue(), "a.tif")
    np.testing.assert_allclose(found.pixels[:, :, 0], values * (65535 / 4095), atol=0.5)
    assert found.grey


def test_one_colour_of_a_16_bit_png_may_be_transparent():
    """Written by hand: none of the libraries writes it."""
    stored = RNG.integers(0, 65536, (9, 8, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in stored)
    header = struct.pack(">IIBBBBB", 8, 9, 16, 2, 0, 0, 0)
    chunks = {b"IHDR": header, b"tRNS": stored[4, 5].tobytes(), b"IDAT": zlib.compress(rows)}
    found = decode_picture(png_of(chunks), "a.png")
    np.testing.assert_array_equal(found.pixels, stored)
    expected = np.full((9, 8), 65535)
    expected[4, 5] = 0
    np.testing.assert_array_equal(found.alpha, expected)


def test_grey_with_alpha_of_16_bits_is_grey():
    """Written by hand: none of the libraries writes it."""
    stored = RNG.integers(0, 65536, (9, 8, 2)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in stored)
    chunks = {b"IHDR": struct.pack(">IIBBBBB", 8, 9, 16, 4, 0, 0, 0), b"IDAT": zlib.compress(rows)}
    found = decode_picture(png_of(chunks), "a.png")
    np.testing.assert_array_equal(found.pixels[:, :, 1], stored[:, :, 0])
    np.testing.assert_array_equal(found.alpha, stored[:, :, 1])
    assert found.grey


def test_a_profile_of_grey_stays_out_of_files_with_colour(caplog):
    profile = imagecodecs.cms_profile("gray", gamma=1.8)
    grey = Picture(np.full((8, 8, 3), 9, np.uint8), grey=True, icc_profile=profile)
    for ending, kept in ((".png", True), (".jpg", True), (".tif", True), (".webp", False)):
        caplog.clear()
        found = decode_picture(encode_picture(grey, ending), "a").icc_profile
        assert found == (profile if kept else None)
        assert ("holds no profile of grey" in caplog.text) != kept


@pytest.mark.parametrize("ending", [".jpg", ".webp"])
def test_16_bits_are_rounded_where_the_format_has_8(ending):
    deep = Picture(np.full((8, 8, 3), 40_000, np.uint16))
    found = decode_picture(encode_picture(deep, ending), "photo")
    assert np.abs(found.pixels.astype(int) - round(40_000 / 257)).max() <= 1


def test_rounding_to_8_bits_undoes_the_widening():
    values = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    picture = Picture(np.repeat(values[:, :, None], 3, 2), values)
    narrow = to_eight_bits(picture)
    np.testing.assert_array_equal(narrow.pixels[:, :, 0].astype(int) * 257, values)
    np.testing.assert_array_equal(narrow.alpha.astype(int) * 257, values)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_pictures_are_turned_upright_once(kind, orientation):
    pixels = smooth()[:, :, :3]
    stored = Image.fromarray(pixels)
    data = file_of(stored, kind, exif=exif(orientation))
    flat = decode_picture(file_of(stored, kind), "photo").pixels
    transposes = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    upright = Image.fromarray(flat)
    if orientation in transposes:
        upright = upright.transpose(transposes[orientation])
    found = decode_picture(data, "photo")
    np.testing.assert_array_equal(found.pixels, np.asarray(upright))
    again = decode_picture(encode_picture(found, ".png"), "photo")
    np.testing.assert_array_equal(again.pixels, found.pixels)


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_16_bit_pictures_are_turned_too(orientation, tmp_path):
    stored = RNG.integers(0, 65536, (30, 50, 3)).astype(np.uint16)
    turns = {1: 0, 3: 2, 6: -1}[orientation]
    tag = (274, "H", 1, orientation, True)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", extratags=[tag])
    found = read_picture(tmp_path / "a.tif")
    np.testing.assert_array_equal(found.pixels, np.rot90(stored, turns))
    png = encode_picture(Picture(stored, exif=exif(orientation).tobytes()), ".png")
    np.testing.assert_array_equal(decode_picture(png, "a").pixels, np.rot90(stored, turns))


@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp", ".tif"])
def test_profile_and_exif_are_kept_without_thumbnail_and_orientation(ending):
    fields = exif(6)
    data = file_of(Image.fromarray(smooth()[:, :, :3]), "JPEG", exif=fields, icc_profile=PROFILE)
    written = encode_picture(decode_picture(data, "photo"), ending)
    image = Image.open(io.BytesIO(written))
    assert image.size == (40, 56)  # upright
    assert image.info["icc_profile"] == PROFILE
    kept = image.getexif()
    assert kept[ExifTags.Base.Make] == "Maker"
    assert kept[ExifTags.Base.Copyright] == "Somebody"
    assert kept.get(ExifTags.Base.Orientation, 1) == 1
    assert kept.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] == 200
    assert kept.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"
    assert not kept.get_ifd(ExifTags.IFD.IFD1)


@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp", ".tif"])
def test_text_and_directories_of_exif_are_kept_whole(ending):
    fields = exif()
    fields[ExifTags.Base.Artist] = "Jos\u00e9".encode()
    fields.get_ifd(ExifTags.IFD.Exif)[ExifTags.IFD.Interop] = {1: "R03"}  # Adobe RGB
    data = file_of(Image.fromarray(smooth()[:, :, :3]), "JPEG", exif=fields)
    for _ in range(2):  # what we wrote is as good as what a camera did
        data = encode_picture(decode_picture(data, "photo"), ending)
        kept = Image.open(io.BytesIO(data)).getexif()
        assert kept[ExifTags.Base.Artist].encode("latin-1").decode() == "Jos\u00e9"
        assert kept.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] == 200
        if ending != ".tif":  # where PIL does not show it
            assert kept.get_ifd(ExifTags.IFD.Interop) == {1: "R03"}


def test_a_damaged_field_costs_neither_the_orientation_nor_the_others(caplog):
    """A negative altitude, which some phones write, is read but cannot be written by PIL."""
    fields = exif(6)
    fields.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSAltitude] = IFDRational(77, 1)
    stored = bytearray(fields.tobytes())
    entry = struct.pack(">HHL", ExifTags.GPS.GPSAltitude, 5, 1)  # unsigned, becomes signed
    at = stored.index(entry)
    stored[at + 2 : at + 4] = struct.pack(">H", 10)
    value = 6 + struct.unpack(">L", stored[at + 8 : at + 12])[0]
    stored[value : value + 8] = struct.pack(">ll", -77, 1)
    data = file_of(Image.fromarray(smooth()[:, :, :3]), "JPEG", exif=bytes(stored))
    found = decode_picture(data, "photo.jpg")
    assert found.pixels.shape == (56, 40, 3)  # upright
    kept = Image.open(io.BytesIO(encode_picture(found, ".png"))).getexif()
    assert kept[ExifTags.Base.Make] == "Maker"
    assert dict(kept.get_ifd(ExifTags.IFD.GPSInfo)) == {ExifTags.GPS.GPSLatitudeRef: "N"}
    assert "photo.jpg: some of its EXIF is damaged: left out" in caplog.text


@pytest.mark.parametrize("ending", LOSSLESS)
@pytest.mark.parametrize("kind", ["RGB", "RGBA", "grey", "grey and alpha"])
def test_formats_without_loss_give_every_pixel_back(ending, kind):
    pixels = RNG.integers(0, 256, (20, 30, 3)).astype(np.uint8)
    alpha = RNG.integers(0, 2, (20, 30)).astype(np.uint8) * 255  # also where nothing is seen
    grey = "grey" in kind
    picture = Picture(
        np.repeat(pixels[:, :, :1], 3, 2) if grey else pixels,
        alpha if "alpha" in kind or kind == "RGBA" else None,
        grey,
    )
    found = decode_picture(encode_picture(picture, ending), "photo")
    np.testing.assert_array_equal(found.pixels, picture.pixels)
    if picture.alpha is not None:
        np.testing.assert_array_equal(found.alpha, alpha)
    assert found.grey == (grey and ending != ".webp")  # which has colour always


def test_a_pil_image_of_any_kind():
    pixels = smooth()
    found = picture_of(Image.fromarray(pixels))
    np.testing.assert_array_equal(found.pixels, pixels[:, :, :3])
    np.testing.assert_array_equal(found.alpha, pixels[:, :, 3])
    assert picture_of(Image.fromarray(pixels[:, :, 0])).grey
    deep = RNG.integers(0, 65536, (9, 8)).astype(np.uint16)
    np.testing.assert_array_equal(picture_of(Image.fromarray(deep)).pixels[:, :, 2], deep)
    with pytest.raises(InputError, match="PIL image: pixels of kind F: convert them to RGB"):
        picture_of(Image.fromarray(np.zeros((4, 4), np.float32)))


def test_of_several_pictures_in_a_file_the_first_is_taken(caplog):
    first, second = (Image.fromarray(smooth()[:, :, :3]) for _ in range(2))
    data = file_of(first, "TIFF", save_all=True, append_images=[second])
    np.testing.assert_array_equal(decode_picture(data, "scan.tif").pixels, np.asarray(first))
    assert "scan.tif: holds more than one picture" in caplog.text


def png_of(chunks: dict[bytes, bytes]) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        end = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + end

    content = b"".join(chunk(*item) for item in {**chunks, b"IEND": b""}.items())
    return b"\x89PNG\r\n\x1a\n" + content


def png_header(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return png_of({b"IHDR": header, b"IDAT": zlib.compress(b"\0" * 100_000)})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty: replace it"),
        (b"not a picture", "not a picture, or a damaged one: expected JPEG, PNG, WebP"),
        (png_header(60_000, 60_000), "make it smaller"),
        (png_header(15_000, 8_000), "120 megapixels|at most 100 megapixels are taken"),
        (png_header(300, 300)[:-60], "damaged PNG"),
        (
            file_of(Image.new("RGB", (9, 9)), "PPM"),
            "not a picture, or a damaged one: expected JPEG",
        ),
        (
            file_of(Image.new("F", (9, 9)), "TIFF"),
            "TIFF is not taken .floating point numbers of 32",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_files_that_cannot_be_used(data, message, tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        read_picture(path, max_pixels=100_000_000)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_an_unknown_ending(tmp_path):
    with pytest.raises(InputError, match=r"gone\.jpg: cannot be read \(No such file"):
        read_picture(tmp_path / "gone.jpg")
    picture = Picture(smooth()[:, :, :3])
    with pytest.raises(InputError, match=r"a\.xyz: the ending '\.xyz' is unknown: use \.jpg, "):
        write_picture(tmp_path / "a.xyz", picture)
    with pytest.raises(InputError, match=r"a\.webp: 1 x 17000 pixels cannot be written as \.webp"):
        write_picture(tmp_path / "a.webp", Picture(np.zeros((17_000, 1, 3), np.uint8)))
    assert not list(tmp_path.iterdir())


def seeds() -> list[bytes]:
    """A file of each kind that there is a decoder for."""
    base = smooth()
    found = []
    for mode in ("RGB", "RGBA", "L", "LA", "P", "CMYK", "1"):
        for kind, options in (
            ("JPEG", {}),
            ("JPEG", {"progressive": True}),
            ("PNG", {}),
            ("WEBP", {}),
            ("WEBP", {"lossless": True}),
            ("TIFF", {}),
            ("TIFF", {"compression": "tiff_lzw"}),
            ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ):
            if mode in ("RGBA", "LA", "P") and kind == "JPEG":
                continue
            if mode in ("LA", "P", "CMYK", "1") and kind in ("WEBP",):
                continue
            if mode == "CMYK" and kind == "PNG":
                continue
            image = Image.fromarray(base).convert("RGBA").convert(mode)
            found.append(file_of(image, kind, exif=exif(6), **options))
    for kind in ("AVIF", "JPEG2000", "GIF", "BMP"):
        found.append(file_of(Image.fromarray(base[:, :, :3]), kind))
    found += [heic_files.ALPHA, heic_files.TURNED, heic_files.DEEP]
    for ending in (".png", ".tif"):
        deep = Picture(base[:, :, :3].astype(np.uint16) * 257, None, False, PROFILE)
        found.append(encode_picture(deep, ending))
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, deep.pixels, photometric="rgb")  # of another program
    found.append(buffer.getvalue())
    for compression in ("zstd", "webp", "jpeg"):
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, base[:, :, :3], photometric="rgb", compression=compression)
        found.append(buffer.getvalue())
    return found


def test_1000_damaged_files_are_read_or_refused_in_one_line():
    files = seeds()
    rng = np.random.default_rng(0)
    read, messages = 0, []
    faulthandler.dump_traceback_later(300, exit=True)  # a hang ends in a failure
    for number in range(1000):
        data = bytearray(files[number % len(files)])
        kind = number % 4
        at = int(rng.integers(len(data)))
        if kind == 0:
            del data[at:]
        elif kind == 1:
            for place in rng.integers(0, len(data), 6):
                data[place] = int(rng.integers(256))
        elif kind == 2:
            for place in rng.integers(0, min(200, len(data)), 3):
                data[place] = int(rng.choice([0, 1, 127, 128, 255]))
        else:
            data[at:at] = rng.bytes(int(rng.integers(1, 64)))
        try:
            picture = decode_picture(bytes(data), "photo.jpg")
        except InputError as error:
            messages.append(str(error))
        else:
            read += 1
            assert picture.pixels.ndim == 3
    faulthandler.cancel_dump_traceback_later()
    assert all(text.startswith("photo.jpg: ") and "\n" not in text for text in messages)
    assert 50 < read < 600  # some damage does not matter, most does


def test_too_little_memory_is_no_damage(monkeypatch):
    def no_memory(self):
        raise MemoryError

    data = file_of(Image.new("RGB", (9, 9)), "PNG")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", no_memory)
    with pytest.raises(InputError, match=r"photo\.png: not enough memory: make it smaller"):
        decode_picture(data, "photo.png")
