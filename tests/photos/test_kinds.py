"""Which files are read, written and refused."""

import logging
import re
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from harmony_jax import InputError
from harmony_jax.photos.decoding import decode_picture
from harmony_jax.photos.kinds import (
    ENDINGS,
    WRITTEN_ENDINGS,
    check_ending,
    check_written_ending,
    output_name,
)
from tests.photos.files import file_of, noise, smooth, tiff_of

DOCS = (Path(__file__).parents[2] / "docs" / "harmonize.md").read_text()


def test_every_ending_is_documented_with_what_becomes_of_it():
    lines = DOCS[DOCS.index("| file | endings |") :].split("\n\n")[0].splitlines()
    listed = {}
    for line in lines[2:]:
        _, endings, _, written = line.strip("|").split("|")
        listed |= dict.fromkeys(re.findall(r"\.\w+", endings), written.strip())
    assert set(listed) == set(ENDINGS)
    own = {"JPEG": ".jpg .jpeg .jpe .jfif", "PNG": ".png", "WebP": ".webp", "TIFF": ".tif .tiff"}
    own["BMP"] = ".bmp"
    for ending, written in listed.items():
        assert Path(output_name(Path("a" + ending))).suffix in own[written].split()


def test_endings():
    for ending in ENDINGS:
        check_ending(ending.upper(), "IMG")
    for ending in WRITTEN_ENDINGS:
        check_written_ending(ending.upper(), "IMG")
    for ending, message in (
        (".dng", "a camera's raw file: develop it first"),
        (".CR2", "a camera's raw file"),
        (".jxr", "JPEG XR: save it as PNG"),
        (".xyz", r"unknown ending '\.xyz': use \.jpg, \.jpeg"),
    ):
        with pytest.raises(InputError, match=f"IMG: {message}"):
            check_ending(ending, "IMG")
    with pytest.raises(InputError, match=r"IMG: the ending '\.heic' is read but not written: use"):
        check_written_ending(".heic", "IMG")


def test_a_photo_of_a_format_that_is_not_written_becomes_png_and_that_is_said(caplog):
    caplog.set_level(logging.WARNING)
    for name in ("a.jpg", "a.JPEG", "a.jfif", "a.png", "a.webp", "a.tif", "a.bmp"):
        assert output_name(Path(name)) == name
    assert output_name(Path("a.heic"), ".tif") == "a.tif"
    assert not caplog.text
    for name in ("a.heic", "a.AVIF", "a.gif", "a.jp2", "a.jxl"):
        caplog.clear()
        assert output_name(Path(name)) == "a.png"
        assert f"{name}: this format is not written" in caplog.text


def test_a_file_is_read_as_what_it_is_and_that_is_said(caplog):
    pixels = smooth()
    found = decode_picture(file_of(pixels, "PNG"), "holiday.jpg")
    np.testing.assert_array_equal(found.pixels, pixels)
    assert "holiday.jpg: is not .jpg but PNG" in caplog.text
    caplog.clear()
    for ending, kind in ((".jfif", "JPEG"), (".JPE", "JPEG"), (".mpo", "JPEG"), (".PNG", "PNG")):
        decode_picture(file_of(pixels, kind), "holiday" + ending)
    assert not caplog.text


def camera_raw() -> bytes:
    """A sensor's mosaic, as in DNG."""
    return tiff_of(noise(40, 40, kind=np.uint16), photometric="cfa")


def jpeg(old: bytes, new: bytes, at: int = 0) -> bytes:
    """A JPEG with other bytes in the header of its frame."""
    data = bytearray(file_of(Image.new("RGB", (16, 16)), "JPEG"))
    frame = data.index(b"\xff\xc0") + at
    assert data[frame : frame + len(old)] == old
    data[frame : frame + len(new)] = new
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (camera_raw(), "a camera's raw file: develop it first, to TIFF of 16 bits or to JPEG"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(90), "a camera's raw file"),
        (b"FUJIFILMCCD-RAW 0201" + bytes(90), "a camera's raw file"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(90), "a camera's raw file"),
        (b"\0\0\0\x18ftypmp42\0\0\0\1mp42isom" + bytes(90), "a video: save one picture of it"),
        (jpeg(b"\x08", b"\x0c", 4), "JPEG of 12 bits: save it as PNG or TIFF of 16 bits"),
        (jpeg(b"\xff\xc0", b"\xff\xc3"), "lossless JPEG: save it as PNG"),
        (jpeg(b"\xff\xc0", b"\xff\xc5"), "hierarchical JPEG: save it as PNG"),
        (bytes(imagecodecs.jpegls_encode(noise(9, 9))), "JPEG-LS: save it as PNG"),
        (b"8BPS\0\1" + bytes(90), "a Photoshop document: export it as PNG or TIFF"),
        (b"%PDF-1.7\n", "a PDF: export the picture as PNG"),
        (b"\n<!DOCTYPE html><html>", "a web page, not the picture on it"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing: export it as PNG"),
        (b"\x76\x2f\x31\x01" + bytes(90), "OpenEXR, an HDR picture"),
        (b"#?RADIANCE\n", "Radiance HDR, an HDR picture"),
    ],
)
def test_what_is_not_read_is_named(data, message):
    with pytest.raises(InputError, match=message) as caught:
        decode_picture(data, "photo.jpg")
    assert str(caught.value).startswith("photo.jpg: ")
    assert "\n" not in str(caught.value)


def jpeg_2000_of_space(number: int) -> bytes:
    data = file_of(smooth(), "JPEG2000")
    colors = b"colr\1\0\0\0\0\0\x10"
    assert colors in data
    return data.replace(colors, colors[:-1] + bytes([number]))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bytes(imagecodecs.jpeg2k_encode(noise(9, 9, 4), codecformat="j2k")), "4 channels"),
        (bytes(imagecodecs.jpeg2k_encode(noise(9, 9).astype(np.int16))), "numbers with signs"),
        (jpeg_2000_of_space(14), "colour space 14"),
    ],
)
def test_kinds_of_jpeg_2000_that_are_not_taken_are_named(data, reason):
    with pytest.raises(InputError, match=rf"a\.jp2: this kind of JPEG 2000 .*{reason}"):
        decode_picture(data, "a.jp2")
