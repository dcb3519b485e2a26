"""What comes with a picture, read back by PIL, tifffile and by hand."""

import io
import struct

import cv2
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image

from harmony_jax.photos.formats import JpegOptions, decode_picture, encode_picture
from tests.photos.files import file_of, png_of

RNG = np.random.default_rng(0)
WRITTEN = (".jpg", ".png", ".webp", ".tif")
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" '
    b"xmp:Rating='4'><dc:title>T\xc3\xa4</dc:title></rdf:Description></x:xmpmeta>"
)
UPRIGHT_XMP = XMP.replace(b'"6"', b'"1"')
IPTC = b"\x1c\x02\x05\x00\x05Title\x1c\x02\x19\x00\x03tag"


def picture(height: int = 40, width: int = 56) -> Image.Image:
    low = RNG.integers(0, 256, (5, 7, 3)).astype(np.uint8)
    return Image.fromarray(cv2.resize(low, (width, height)))


def again(data: bytes, ending: str, label: str = "photo") -> Image.Image:
    """The picture of a file written anew, without a change."""
    return Image.open(io.BytesIO(encode_picture(decode_picture(data, label), ending)))


@pytest.mark.parametrize("ending", WRITTEN)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP"])
def test_resolution(kind, ending):
    found = again(file_of(picture(), kind, dpi=(300, 150)), ending)
    if ending == ".webp":
        fields = found.getexif()
        resolution = [fields[ExifTags.Base.XResolution], fields[ExifTags.Base.YResolution]]
    else:
        resolution = found.info["dpi"]
    np.testing.assert_allclose([float(value) for value in resolution], (300, 150), atol=0.02)


def test_resolution_of_pictures_that_are_turned_or_of_16_bits():
    fields = Image.Exif()
    fields[ExifTags.Base.Orientation] = 6
    found = again(file_of(picture(), "PNG", dpi=(300, 150), exif=fields), ".png")
    np.testing.assert_allclose(found.info["dpi"], (150, 300), atol=0.02)
    deep = RNG.integers(0, 65536, (8, 8, 3)).astype(np.uint16)
    found = again(png_of(deep, 16, 2, (b"pHYs", struct.pack(">IIB", 11811, 11811, 1))), ".png")
    np.testing.assert_allclose(found.info["dpi"], (300, 300), atol=0.02)
    # A ratio of sides is no resolution.
    found = again(png_of(deep, 16, 2, (b"pHYs", struct.pack(">IIB", 2, 1, 0))), ".png")
    assert "dpi" not in found.info


@pytest.mark.parametrize("ending", WRITTEN)
def test_fields_of_windows(ending):
    fields = Image.Exif()
    title, tags = (text.encode("utf-16le") + b"\0\0" for text in ("T\u00e4tel", "one;two"))
    fields[0x9C9B], fields[0x9C9E] = title, tags  # XPTitle, XPKeywords
    fields[0x4746], fields[0x4749] = 5, 99  # Rating, RatingPercent
    kept = again(file_of(picture(), "JPEG", exif=fields), ending).getexif()
    assert bytes(kept[0x9C9B]) == title
    assert bytes(kept[0x9C9E]) == tags
    assert (kept[0x4746], kept[0x4749]) == (5, 99)


def xmp_in(image: Image.Image) -> bytes:
    return image.tag_v2[700] if image.format == "TIFF" else image.info["xmp"]


@pytest.mark.parametrize("ending", WRITTEN)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_xmp_which_says_that_the_picture_is_upright(kind, ending):
    if kind == "PNG":
        chunk = (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
        data = png_of(np.asarray(picture()), 8, 2, chunk)
    elif kind == "TIFF":
        buffer = io.BytesIO()
        tags = [(700, 1, len(XMP), XMP, True)]
        tifffile.imwrite(buffer, np.asarray(picture()), photometric="rgb", extratags=tags)
        data = buffer.getvalue()
    else:
        data = file_of(picture(), kind, xmp=XMP)
    assert xmp_in(again(data, ending)) == UPRIGHT_XMP


def iptc_segment(data: bytes) -> bytes:
    """Written by hand: PIL reads it alone."""
    content = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", len(IPTC)) + IPTC
    content += b"\0" * (len(IPTC) % 2)
    return data[:2] + b"\xff\xed" + struct.pack(">H", len(content) + 2) + content + data[2:]


def test_iptc(caplog):
    data = iptc_segment(file_of(picture(), "JPEG"))
    assert again(data, ".jpg").info["photoshop"][0x0404] == IPTC
    assert again(data, ".tif").tag_v2[33723] == IPTC
    tiff = encode_picture(decode_picture(data, "a.jpg"), ".tif")
    assert again(tiff, ".jpg").info["photoshop"][0x0404] == IPTC
    assert not caplog.text
    again(data, ".webp")
    assert "picture: WEBP holds no IPTC: left out" in caplog.text


@pytest.mark.parametrize("bits", [8, 16])
def test_texts_of_png(bits, caplog):
    workflow = b"workflow\0" + b'{"nodes": []}' * 2000
    texts = ((b"tEXt", workflow), (b"iTXt", b"Title\0\0\0de\0Titel\0T\xc3\xa4tel"))
    stored = RNG.integers(0, 2**bits, (8, 8, 3)).astype(np.uint16)
    data = png_of(stored, bits, 2, texts[0], after=texts[1:])
    found = again(data, ".png")
    assert found.text == {"workflow": workflow[9:].decode(), "Title": "T\u00e4tel"}
    assert found.text["Title"].lang == "de"
    assert not caplog.text
    again(data, ".jpg")
    assert "picture: JPEG holds no PNG's texts: left out" in caplog.text


GEO_TAGS = [
    (33550, 12, 3, (0.5, 0.5, 0.0), True),
    (33922, 12, 6, (0.0, 0.0, 0.0, 440720.0, 3751320.0, 0.0), True),
    (34735, 3, 8, (1, 1, 0, 1, 1024, 0, 1, 1), True),
    (34737, 2, 4, "UTM|", True),
    (42113, 2, 2, "0", True),
]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_places_on_the_earth(kind, caplog):
    buffer = io.BytesIO()
    pixels = RNG.integers(0, 256, (8, 8, 3)).astype(kind)
    tifffile.imwrite(buffer, pixels, photometric="rgb", extratags=GEO_TAGS)
    written = encode_picture(decode_picture(buffer.getvalue(), "a.tif"), ".tif")
    with tifffile.TiffFile(io.BytesIO(written)) as file:
        tags = file.pages.first.tags
        for code, datatype, _, value, _ in GEO_TAGS:
            assert tags[code].value == value
            assert tags[code].dtype == datatype
    assert not caplog.text
    again(buffer.getvalue(), ".png")
    assert "picture: PNG holds no GeoTIFF's fields: left out" in caplog.text
    caplog.clear()
    buffer = io.BytesIO()
    turned = [*GEO_TAGS, (274, 3, 1, 6, True)]
    tifffile.imwrite(buffer, pixels, photometric="rgb", extratags=turned)
    assert not decode_picture(buffer.getvalue(), "a.tif").companions.geo
    assert "a.tif: is turned, which its GeoTIFF fields are not: left out" in caplog.text


def test_what_lies_behind_a_photo_is_said_to_be_left_out(caplog):
    first, second = picture(), picture()
    data = file_of(first, "MPO", save_all=True, append_images=[second])
    found = decode_picture(data, "a.jpg")
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.abs(found.pixels.astype(int) - expected).max() <= 1
    assert "a.jpg: holds a gain map or further pictures: they are left out" in caplog.text
    caplog.clear()
    gain = b'<x:xmpmeta xmlns:hdrgm="x" hdrgm:Version="1.0"></x:xmpmeta>'
    found = decode_picture(file_of(first, "JPEG", xmp=gain), "a.jpg")
    assert found.companions.xmp is None
    assert "a.jpg: holds a gain map or further pictures: they are left out" in caplog.text


# JPEG


@pytest.mark.parametrize("quality", [30, 75, 98])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_is_compressed_as_it_was(quality, subsampling, mode):
    image = picture(64, 96).convert(mode)
    data = file_of(image, "JPEG", quality=quality, subsampling=subsampling)
    before, after = Image.open(io.BytesIO(data)), again(data, ".jpg")
    assert after.quantization == before.quantization
    if mode == "RGB":
        assert after.layer == before.layer
    change = np.asarray(after).astype(float) - np.asarray(before)
    assert np.abs(change).mean() < 1


def test_a_jpeg_that_is_turned_is_compressed_as_it_was():
    fields = Image.Exif()
    fields[ExifTags.Base.Orientation] = 6
    data = file_of(picture(64, 96), "JPEG", quality=40, subsampling=2, exif=fields)
    before, after = Image.open(io.BytesIO(data)), again(data, ".jpg")
    for number, table in before.quantization.items():
        turned = np.reshape(table, (8, 8)).T.ravel()
        np.testing.assert_array_equal(after.quantization[number], turned)
    expected = np.rot90(np.asarray(before), -1).astype(float)
    assert np.abs(np.asarray(after) - expected).mean() < 1


def test_options_of_jpeg():
    photo = decode_picture(file_of(picture(), "JPEG", quality=30, subsampling=2), "a.jpg")
    other = decode_picture(file_of(picture(), "PNG"), "a.png")

    def written(one, *options):
        image = Image.open(io.BytesIO(encode_picture(one, ".jpg", JpegOptions(*options))))
        sides = image.layer[0][1:3]
        return image.quantization, sides

    def made(quality, subsampling):
        image = Image.open(
            io.BytesIO(file_of(picture(), "JPEG", quality=quality, subsampling=subsampling))
        )
        return image.quantization, image.layer[0][1:3]

    assert written(photo) == made(30, "4:2:0")
    assert written(photo, 80) == made(80, "4:2:0")
    assert written(photo, None, "4:4:4") == made(30, "4:4:4")
    assert written(photo, 90, "4:2:2") == made(90, "4:2:2")
    assert written(other) == made(95, "4:4:4")
    assert written(other, 50, "4:2:0") == made(50, "4:2:0")
