"""JPEG XL against numbers known by construction, in files of its own encoder."""

import logging
import struct

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from harmony_jax import InputError
from harmony_jax.photos.color import Conversion
from harmony_jax.photos.decoding import count_pixels, decode_picture
from harmony_jax.photos.jpeg_xl import look_at_jpeg_xl
from tests.photos.files import blocks, file_of, sample

PIXELS = blocks()


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content) + 8) + kind + content


def test_pixels(caplog):
    caplog.set_level(logging.WARNING)
    found = decode_picture(sample("alpha.jxl"), "a.jxl")
    np.testing.assert_array_equal(found.pixels, PIXELS)
    np.testing.assert_array_equal(found.alpha, PIXELS[:, :, 0])
    assert found.icc_profile is None
    found = decode_picture(sample("turned.jxl"), "a.jxl")
    np.testing.assert_array_equal(found.pixels, np.rot90(PIXELS, -1))
    assert not caplog.text
    found = decode_picture(sample("moving.jxl"), "a.jxl")
    np.testing.assert_array_equal(found.pixels, PIXELS)
    assert "a.jxl: holds more than one picture" in caplog.text


@pytest.mark.parametrize("bits", [4, 8, 10, 12])
@pytest.mark.parametrize("channels", [1, 3])
def test_bits_over_their_whole_range(bits, channels):
    kind = np.uint8 if bits <= 8 else np.uint16
    stored = np.random.default_rng(0).integers(0, 2**bits, (9, 14, channels)).astype(kind)
    data = bytes(imagecodecs.jpegxl_encode(stored, lossless=True, bitspersample=bits))
    found = decode_picture(data, "a.jxl")
    assert found.pixels.dtype == kind
    assert found.grey == (channels == 1)
    expected = np.broadcast_to(stored * (np.iinfo(kind).max / (2**bits - 1)), (9, 14, 3))
    np.testing.assert_allclose(found.pixels, expected, atol=0.5 if bits < 12 else 20)


@pytest.mark.parametrize("height", [8, 64, 100, 257, 300, 9000])
@pytest.mark.parametrize("width", [8, 40, 100, 257, 320, 400])
def test_sizes(height, width):
    """As bytes, in eighths, or as a ratio of the height."""
    data = bytes(imagecodecs.jpegxl_encode(np.zeros((height, width), np.uint8), effort=1))
    assert look_at_jpeg_xl(data).size == (width, height)
    assert count_pixels(data, "a.jxl") == width * height
    with pytest.raises(InputError, match="megapixels are taken"):
        count_pixels(data, "a.jxl", max_pixels=width * height - 1)


def test_colours_that_numbers_tell():
    found = decode_picture(sample("p3.jxl"), "a.jxl")
    assert np.abs(found.pixels - PIXELS).mean() < 2
    corners = np.zeros((1, 3, 3), np.uint8)
    corners[0] = [[128, 0, 0], [0, 128, 0], [117, 251, 76]]  # the last is sRGB's green
    srgb = Conversion(found.icc_profile).to_srgb(corners, np.ones((1, 3), np.uint8)) / 257
    np.testing.assert_allclose(srgb[0, 2], [0, 255, 0], atol=3)
    np.testing.assert_allclose(srgb[0, 0], [141, 0, 0], atol=1)
    with pytest.raises(InputError, match=r"a\.jxl: an HDR picture \(PQ\)"):
        decode_picture(sample("hdr.jxl"), "a.jxl")
    with pytest.raises(InputError, match=r"a\.jxl: .* not taken \(colours of an ICC profile\)"):
        decode_picture(sample("icc.jxl"), "a.jxl")


def test_a_packed_jpeg_comes_with_what_it_had():
    found = decode_picture(sample("jpeg.jxl"), "a.jxl")
    turned = Image.Exif()
    turned[274] = 6
    pixels = PIXELS.astype(np.uint8)
    jpeg = file_of(pixels, "JPEG", quality=95, subsampling=0, exif=turned)
    expected = decode_picture(jpeg, "a.jpg")
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    assert found.companions.jpeg == expected.companions.jpeg
    kept = Image.Exif()
    kept.load(found.exif)
    assert kept[271] == "Maker"


@pytest.mark.parametrize("packed", [False, True])
def test_exif_and_xmp_in_boxes(packed):
    fields = Image.Exif()
    fields[271], fields[274] = "Maker", 6  # pixels are upright whatever it says
    inside = {b"Exif": bytes(4) + fields.tobytes()[6:], b"xml ": b"<x:xmpmeta/>"}
    boxes = [box(kind, content) for kind, content in inside.items()]
    if packed:
        boxes = [
            box(b"brob", kind + bytes(imagecodecs.brotli_encode(content)))
            for kind, content in inside.items()
        ]
    start = box(b"JXL ", b"\r\n\x87\n") + box(b"ftyp", b"jxl \0\0\0\0jxl ")
    half = len(sample("alpha.jxl")) // 2
    parts = [sample("alpha.jxl")[:half], sample("alpha.jxl")[half:]]
    stream = box(b"jxlp", bytes(4) + parts[0]) + box(b"jxlp", b"\x80\0\0\1" + parts[1])
    found = decode_picture(b"".join([start, *boxes, stream]), "a.jxl")
    np.testing.assert_array_equal(found.pixels, PIXELS)
    assert found.companions.xmp == b"<x:xmpmeta/>"
    kept = Image.Exif()
    kept.load(found.exif)
    assert kept[271] == "Maker"


def test_what_is_not_known_to_be_right_is_refused():
    floating = bytes(imagecodecs.jpegxl_encode(np.zeros((9, 9, 3), np.float32)))
    with pytest.raises(InputError, match=r"a\.jxl: this kind of JPEG XL is not taken \(32 bits"):
        decode_picture(floating, "a.jxl")
    planes = np.zeros((3, 9, 9), np.uint8)
    several = bytes(imagecodecs.jpegxl_encode(planes, photometric="gray", planar=True))
    with pytest.raises(InputError, match=r"not taken \(channels beside colours and alpha\)"):
        decode_picture(several, "a.jxl")
