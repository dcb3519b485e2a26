"""PNG files that no library writes."""

import struct
import zlib

import numpy as np
import pytest

from harmony_jax.photos.decoding import decode_picture
from tests.photos.files import RNG, noise, png_of


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_one_grey_may_be_transparent(bits):
    stored = RNG.integers(0, 2**bits, (24, 16)).astype(np.uint16)
    key = int(stored[3, 5])
    found = decode_picture(png_of(stored, bits, 0, (b"tRNS", struct.pack(">H", key))), "a.png")
    most = 65535 if bits == 16 else 255
    np.testing.assert_array_equal(found.pixels[:, :, 0], stored * (most // (2**bits - 1)))
    np.testing.assert_array_equal(found.alpha, np.where(stored == key, 0, most))
    assert found.grey


def test_colour_with_a_transparent_one_and_grey_with_alpha_of_16_bits():
    stored = noise(9, 8, 3, kind=np.uint16)
    key = (b"tRNS", stored[4, 5].astype(">u2").tobytes())
    found = decode_picture(png_of(stored, 16, 2, key), "a.png")
    np.testing.assert_array_equal(found.pixels, stored)
    expected = np.full((9, 8), 65535)
    expected[4, 5] = 0
    np.testing.assert_array_equal(found.alpha, expected)
    found = decode_picture(png_of(stored[:, :, :2], 16, 4), "a.png")
    np.testing.assert_array_equal(found.pixels[:, :, 1], stored[:, :, 0])
    np.testing.assert_array_equal(found.alpha, stored[:, :, 1])
    assert found.grey


@pytest.mark.parametrize("bits", [8, 16])
def test_an_animation_shows_its_default_picture(bits, caplog):
    """It need not be one of the frames."""
    kind = np.uint8 if bits == 8 else np.uint16
    first, other = noise(8, 8, 4, kind=kind), noise(8, 8, 4, kind=kind)
    frame = struct.pack(">IIIIIHHBB", 0, 8, 8, 0, 0, 1, 10, 0, 0)
    rows = b"".join(b"\0" + row.astype(f">u{bits // 8}").tobytes() for row in other)
    later = (
        (b"fcTL", frame),
        (b"fdAT", struct.pack(">I", 1) + zlib.compress(rows)),
        (b"fcTL", struct.pack(">I", 2) + frame[4:]),
        (b"fdAT", struct.pack(">I", 3) + zlib.compress(rows)),
    )
    data = png_of(first, bits, 6, (b"acTL", struct.pack(">II", 2, 0)), after=later)
    found = decode_picture(data, "a.png")
    np.testing.assert_array_equal(found.pixels, first[:, :, :3])
    np.testing.assert_array_equal(found.alpha, first[:, :, 3])
    assert "a.png: holds more than one picture" in caplog.text
