"""What comes with a picture, read back by PIL, tifffile and by hand."""

import io
import struct

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from harmony_jax.photos.decoding import decode_picture
from harmony_jax.photos.encoding import encode_picture
from tests.photos.files import exif, file_of, noise, png_of, smooth, tiff_of

PROFILE = imagecodecs.cms_profile("adobergb")
WRITTEN = (".jpg", ".png", ".webp", ".tif")
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" '
    b"xmp:Rating='4'><dc:title>T\xc3\xa4</dc:title></rdf:Description></x:xmpmeta>"
)
UPRIGHT_XMP = XMP.replace(b'"6"', b'"1"')
IPTC = b"\x1c\x02\x05\x00\x05Title\x1c\x02\x19\x00\x03tag"


def again(data: bytes, ending: str) -> Image.Image:
    """The picture of a file written anew, without a change."""
    return Image.open(io.BytesIO(encode_picture(decode_picture(data, "photo"), ending)))


@pytest.mark.parametrize("ending", WRITTEN)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP"])
def test_resolution(kind, ending):
    found = again(file_of(smooth(), kind, dpi=(300, 150)), ending)
    if ending == ".webp":
        fields = found.getexif()
        resolution = [fields[ExifTags.Base.XResolution], fields[ExifTags.Base.YResolution]]
    else:
        resolution = found.info["dpi"]
    np.testing.assert_allclose([float(value) for value in resolution], (300, 150), atol=0.02)


def test_resolution_of_pictures_that_are_turned_or_of_16_bits():
    found = again(file_of(smooth(), "PNG", dpi=(300, 150), exif=exif(6)), ".png")
    np.testing.assert_allclose(found.info["dpi"], (150, 300), atol=0.02)
    deep = noise(8, 8, 3, kind=np.uint16)
    found = again(png_of(deep, 16, 2, (b"pHYs", struct.pack(">IIB", 11811, 11811, 1))), ".png")
    np.testing.assert_allclose(found.info["dpi"], (300, 300), atol=0.02)
    # A ratio of sides is no resolution.
    found = again(png_of(deep, 16, 2, (b"pHYs", struct.pack(">IIB", 2, 1, 0))), ".png")
    assert "dpi" not in found.info


@pytest.mark.parametrize("ending", WRITTEN)
def test_profile_and_exif_are_kept_without_thumbnail_and_orientation(ending):
    fields = exif(6)
    fields[ExifTags.Base.Artist] = "Jos\u00e9".encode()
    fields.get_ifd(ExifTags.IFD.Exif)[ExifTags.IFD.Interop] = {1: "R03"}  # Adobe RGB
    title = "T\u00e4tel".encode("utf-16le") + b"\0\0"
    fields[0x9C9B], fields[0x9C9E] = title, title  # XPTitle, XPKeywords
    fields[0x4746], fields[0x4749] = 5, 99  # Rating, RatingPercent
    data = file_of(smooth(), "JPEG", exif=fields, icc_profile=PROFILE)
    for _ in range(2):  # what we wrote is as good as what a camera did
        data = encode_picture(decode_picture(data, "photo"), ending)
        image = Image.open(io.BytesIO(data))
        assert image.size == (40, 56)  # upright
        assert image.info["icc_profile"] == PROFILE
        kept = image.getexif()
        assert kept[ExifTags.Base.Make] == "Maker"
        assert kept[ExifTags.Base.Copyright] == "Somebody"
        assert kept[ExifTags.Base.Artist].encode("latin-1").decode() == "Jos\u00e9"
        assert [bytes(kept[tag]) for tag in (0x9C9B, 0x9C9E)] == [title] * 2
        assert (kept[0x4746], kept[0x4749]) == (5, 99)
        assert kept.get(ExifTags.Base.Orientation, 1) == 1
        assert kept.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] == 200
        assert kept.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"
        if ending != ".tif":  # where PIL does not show it
            assert kept.get_ifd(ExifTags.IFD.Interop) == {1: "R03"}
        assert not kept.get_ifd(ExifTags.IFD.IFD1)


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
    kept = again(file_of(smooth(), "JPEG", exif=bytes(stored)), ".png")
    assert kept.size == (40, 56)  # upright
    assert kept.getexif()[ExifTags.Base.Make] == "Maker"
    assert dict(kept.getexif().get_ifd(ExifTags.IFD.GPSInfo)) == {ExifTags.GPS.GPSLatitudeRef: "N"}
    assert "photo: some of its EXIF is damaged" in caplog.text


def xmp_in(image: Image.Image) -> bytes:
    return image.tag_v2[700] if image.format == "TIFF" else image.info["xmp"]


@pytest.mark.parametrize("ending", WRITTEN)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_xmp_which_says_that_the_picture_is_upright(kind, ending):
    if kind == "PNG":
        chunk = (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
        data = png_of(smooth(), 8, 2, chunk)
    elif kind == "TIFF":
        tags = [(700, 1, len(XMP), XMP, True)]
        data = tiff_of(smooth(), photometric="rgb", extratags=tags)
    else:
        data = file_of(smooth(), kind, xmp=XMP)
    assert xmp_in(again(data, ending)) == UPRIGHT_XMP


def iptc_segment(data: bytes) -> bytes:
    """Written by hand: PIL reads it alone."""
    content = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", len(IPTC)) + IPTC
    content += b"\0" * (len(IPTC) % 2)
    return data[:2] + b"\xff\xed" + struct.pack(">H", len(content) + 2) + content + data[2:]


def test_iptc(caplog):
    data = iptc_segment(file_of(smooth(), "JPEG"))
    assert again(data, ".jpg").info["photoshop"][0x0404] == IPTC
    assert again(data, ".tif").tag_v2[33723] == IPTC
    tiff = encode_picture(decode_picture(data, "a.jpg"), ".tif")
    assert again(tiff, ".jpg").info["photoshop"][0x0404] == IPTC
    assert not caplog.text


@pytest.mark.parametrize("bits", [8, 16])
def test_texts_of_png(bits, caplog):
    workflow = b"workflow\0" + b'{"nodes": []}' * 2000
    texts = ((b"tEXt", workflow), (b"iTXt", b"Title\0\0\0de\0Titel\0T\xc3\xa4tel"))
    stored = noise(8, 8, 3, kind=np.uint8 if bits == 8 else np.uint16)
    data = png_of(stored, bits, 2, texts[0], after=texts[1:])
    found = again(data, ".png")
    assert found.text == {"workflow": workflow[9:].decode(), "Title": "T\u00e4tel"}
    assert found.text["Title"].lang == "de"
    assert not caplog.text


GEO_TAGS = [
    (33550, 12, 3, (0.5, 0.5, 0.0), True),
    (33922, 12, 6, (0.0, 0.0, 0.0, 440720.0, 3751320.0, 0.0), True),
    (34735, 3, 8, (1, 1, 0, 1, 1024, 0, 1, 1), True),
    (34737, 2, 4, "UTM|", True),
    (42113, 2, 2, "0", True),
]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_places_on_the_earth(kind, caplog):
    pixels = noise(8, 8, 3, kind=kind)
    data = tiff_of(pixels, photometric="rgb", extratags=GEO_TAGS)
    written = encode_picture(decode_picture(data, "a.tif"), ".tif")
    with tifffile.TiffFile(io.BytesIO(written)) as file:
        tags = file.pages.first.tags
        for code, datatype, _, value, _ in GEO_TAGS:
            assert tags[code].value == value
            assert tags[code].dtype == datatype
    assert not caplog.text
    turned = tiff_of(pixels, photometric="rgb", extratags=[*GEO_TAGS, (274, 3, 1, 6, True)])
    assert not decode_picture(turned, "a.tif").companions.geo
    assert "a.tif: its GeoTIFF fields are left out" in caplog.text


def test_what_lies_behind_a_photo_is_said_to_be_left_out(caplog):
    first, second = smooth(), Image.fromarray(smooth())
    data = file_of(first, "MPO", save_all=True, append_images=[second])
    found = decode_picture(data, "a.jpg")
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.abs(found.pixels.astype(int) - expected).max() <= 1
    assert "a.jpg: holds a gain map or further pictures" in caplog.text
    caplog.clear()
    gain = b'<x:xmpmeta xmlns:hdrgm="x" hdrgm:Version="1.0"></x:xmpmeta>'
    found = decode_picture(file_of(first, "JPEG", xmp=gain), "a.jpg")
    assert found.companions.xmp is None
    assert "a.jpg: holds a gain map or further pictures" in caplog.text
