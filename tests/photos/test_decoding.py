"""Odd files, against numbers known by construction and decoders the project does not read with."""

import io
import logging
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from harmony_jax import InputError
from harmony_jax.photos.color import profile_of_code_points
from harmony_jax.photos.formats import (
    ENDINGS,
    check_ending,
    count_pixels,
    decode_picture,
    encode_picture,
    output_name,
)
from tests.photos import heic_files
from tests.photos.files import file_of, png_chunk, png_of

RNG = np.random.default_rng(0)


def noise(*shape: int, kind: type = np.uint8) -> np.ndarray:
    return RNG.integers(0, np.iinfo(kind).max + 1, shape).astype(kind)


LOW = cv2.resize(noise(5, 7, 3), (56, 40))


def tiff_of(pixels: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def by_opencv(data: bytes) -> np.ndarray:
    """RGB, or grey, or with alpha, of the file's own depth."""
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if found.ndim == 3:
        found = found[:, :, [2, 1, 0, 3][: found.shape[2]]]
    return found


def ideal(inks: np.ndarray) -> np.ndarray:
    """CMYK over its whole range as RGB in [0, 255]."""
    inks = inks / np.iinfo(inks.dtype).max
    return 255 * (1 - inks[..., :3]) * (1 - inks[..., 3:4])


# TIFF


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("compression", [None, "lzw", "adobe_deflate"])
@pytest.mark.parametrize("planes", [False, True])
def test_inks(kind, compression, planes):
    stored = noise(30, 50, 4, kind=kind)
    data = tiff_of(
        np.ascontiguousarray(np.moveaxis(stored, -1, 0)) if planes else stored,
        photometric="separated",
        planarconfig="separate" if planes else "contig",
        compression=compression,
    )
    found = decode_picture(data, "a.tif")
    assert np.abs(found.pixels - ideal(stored)).max() <= 1.5
    assert found.pixels.dtype == np.uint8
    assert found.alpha is None


def test_inks_with_alpha():
    stored = noise(30, 50, 5)
    data = tiff_of(stored, photometric="separated", extrasamples=["unassalpha"])
    found = decode_picture(data, "a.tif")
    assert np.abs(found.pixels - ideal(stored)).max() <= 1.5
    np.testing.assert_array_equal(found.alpha, stored[:, :, 4])


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("compression", [None, "lzw", "adobe_deflate", "packbits"])
@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_of_tiff(kind, compression, planes, channels):
    stored = noise(30, 50, channels, kind=kind)
    data = tiff_of(
        np.ascontiguousarray(np.moveaxis(stored, -1, 0)) if planes else stored,
        photometric="minisblack" if channels == 2 else "rgb",
        planarconfig="separate" if planes else "contig",
        extrasamples=["unassalpha"],
        compression=compression,
        byteorder=">",
    )
    found = decode_picture(data, "a.tif")
    np.testing.assert_array_equal(found.pixels[:, :, 0], stored[:, :, 0])
    np.testing.assert_array_equal(found.alpha, stored[:, :, -1])
    assert found.grey == (channels == 2)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_either_order_of_bytes_in_either_tiff(byteorder, bigtiff, kind):
    stored = noise(30, 50, 3, kind=kind)
    data = tiff_of(stored, photometric="rgb", byteorder=byteorder, bigtiff=bigtiff)
    np.testing.assert_array_equal(decode_picture(data, "a.tif").pixels, stored)
    assert count_pixels(data, "a.tif") == 1500


@pytest.mark.parametrize("compression", ["zstd", "lzma", "webp", "jpeg2000", "png", "lerc"])
def test_compressions_that_few_programs_have(compression):
    stored = noise(32, 48, 3)
    options = {"compressionargs": {"level": 100, "lossless": True}} if compression == "webp" else {}
    data = tiff_of(stored, photometric="rgb", compression=compression, **options)
    np.testing.assert_array_equal(decode_picture(data, "a.tif").pixels, stored)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_few_bits_keep_their_range(bits):
    """Packed by hand: numbers of so many bits one after another, each row from a whole byte."""
    stored = RNG.integers(0, 2**bits, (30, 40, 3)).astype(np.uint16)
    wide = np.unpackbits(stored.astype(">u2").view(np.uint8).reshape(30, -1, 2), axis=2)
    packed = np.packbits(wide[:, :, 16 - bits :].reshape(30, -1), axis=1)
    data = bytearray(tiff_of(noise(30, 40, 3, kind=np.uint16), photometric="rgb"))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        page = file.pages.first
        depth, counts = page.tags["BitsPerSample"], page.tags["StripByteCounts"]
        start = page.dataoffsets[0]
    data[depth.valueoffset : depth.valueoffset + 6] = struct.pack("<3H", bits, bits, bits)
    size = {3: "<H", 4: "<I"}[counts.dtype]
    struct.pack_into(size, data, counts.valueoffset, packed.size)
    data[start : start + packed.size] = packed.tobytes()
    found = decode_picture(bytes(data), "a.tif")
    np.testing.assert_allclose(found.pixels, stored * (65535 / (2**bits - 1)), atol=0.5)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "jpeg", "group4"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_usual_tiffs_are_as_opencv_reads_them(mode, compression):
    if (compression == "group4") != (mode == "1") or (mode, compression) == ("P", "jpeg"):
        return
    low = cv2.resize(noise(5, 7, 3), (56, 40))
    data = file_of(Image.fromarray(low).convert(mode), "TIFF", compression=compression)
    found, expected = decode_picture(data, "a.tif").pixels, by_opencv(data)
    expected = np.repeat(expected[:, :, None], 3, 2) if expected.ndim == 2 else expected
    assert np.abs(found.astype(int) - expected).max() <= (compression == "jpeg")


def test_a_palette_with_alpha():
    indices, alpha = noise(30, 40), noise(30, 40)
    colors = noise(3, 256, kind=np.uint16)
    data = bytearray(
        tiff_of(
            np.dstack([indices, alpha]),
            photometric="minisblack",
            planarconfig="contig",
            extrasamples=["unassalpha"],
            extratags=[(320, 3, 768, colors.ravel().tolist(), True)],
        )
    )
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        data[file.pages.first.tags["PhotometricInterpretation"].valueoffset] = 3
    found = decode_picture(bytes(data), "a.tif")
    np.testing.assert_array_equal(found.pixels, (colors.T >> 8)[indices])
    np.testing.assert_array_equal(found.alpha, alpha)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["1", "P", "YCbCr"])
def test_a_tiff_is_turned_once(mode, orientation):
    """Fax, palette and YCbCr go three ways, of which one decoder turns by itself."""
    stored = Image.fromarray(cv2.resize(noise(5, 7, 3), (56, 40))).convert(mode)
    options = {"compression": "group4"} if mode == "1" else {}
    data = file_of(stored, "TIFF", tiffinfo={274: orientation}, **options)
    turns = [
        lambda a: a,
        np.fliplr,
        lambda a: np.rot90(a, 2),
        np.flipud,
        lambda a: a.swapaxes(0, 1),
        lambda a: np.rot90(a, -1),
        lambda a: np.rot90(a.swapaxes(0, 1), 2),
        np.rot90,
    ]
    expected = turns[orientation - 1](np.asarray(stored.convert("RGB")).astype(int))
    found = decode_picture(data, "a.tif").pixels
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < (2 if mode == "YCbCr" else 1e-9)


def cielab() -> bytes:
    return tiff_of(noise(9, 9, 3), photometric="cielab")


def camera_raw() -> bytes:
    """A thumbnail in front of the sensor's mosaic, as cameras store it."""
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        file.write(noise(9, 9, 3), photometric="rgb", subifds=1, subfiletype=1)
        file.write(noise(40, 40, kind=np.uint16), photometric="cfa", subfiletype=0)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tiff_of(noise(9, 9, 3).astype(np.int8), photometric="rgb"), "signed numbers of 8 bits"),
        (tiff_of(noise(9, 9).astype(np.int16)), "signed numbers of 16 bits"),
        (tiff_of(noise(9, 9, 3).astype(np.float32), photometric="rgb"), "floating point numbers"),
        (tiff_of(noise(9, 9, 3).astype(np.float16), photometric="rgb"), "floating point numbers"),
        (tiff_of(noise(9, 9).astype(np.uint32)), "32 bits a channel"),
        (tiff_of(np.zeros((9, 9), np.complex64)), "numbers of kind 6"),
        (cielab(), "colours of kind CIELAB"),
    ],
)
def test_kinds_of_tiff_that_are_not_taken_are_named(data, message):
    with pytest.raises(InputError, match=rf"a\.tif: this kind of TIFF is not taken \({message}"):
        decode_picture(data, "a.tif")


def test_numbers_of_32_bits_go_from_black_to_white(caplog):
    """As ImageMagick and GIMP write them: TIFF 6.0 gives integers their whole range."""
    stored = RNG.integers(0, 2**32, (30, 40, 3)).astype(np.uint32)
    stored[0, :2] = [[0] * 3, [2**32 - 1] * 3]
    found = decode_picture(tiff_of(stored, photometric="rgb"), "a.tif")
    np.testing.assert_allclose(found.pixels, stored / (2**32 - 1) * 65535, atol=0.5)
    assert "a.tif: holds numbers of 32 bits or of floating point: 16 bits are kept" in caplog.text


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_floating_point_with_a_profile(kind):
    linear = profile_of_code_points(9, 8, "BT.2020 in linear light")
    stored = RNG.random((30, 40, 3)).astype(kind)
    options = {"photometric": "rgb", "iccprofile": linear}
    found = decode_picture(tiff_of(stored, **options), "a.tif")
    np.testing.assert_allclose(found.pixels, stored.astype(float) * 65535, atol=0.51)
    assert found.icc_profile == linear
    for wrong in (2, -1, np.nan, np.inf):
        stored[3, 4, 1] = wrong
        with pytest.raises(InputError, match=r"a\.tif: its numbers go from .* HDR picture"):
            decode_picture(tiff_of(stored, **options), "a.tif")
    with pytest.raises(InputError, match="without a usable colour profile"):
        decode_picture(tiff_of(stored, photometric="rgb", iccprofile=bytes(200)), "a.tif")


def test_planes_in_an_order_that_is_no_number_are_refused():
    """A field of another type is neither; two of three planes would be what lay in memory."""
    data = bytearray(tiff_of(noise(9, 9, 3), photometric="rgb"))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        at = file.pages.first.tags["PlanarConfiguration"].offset
    data[at + 2] = 7  # bytes, of which there is one
    with pytest.raises(InputError, match=r"a\.tif: this kind of TIFF is not taken \(pixels in an"):
        decode_picture(bytes(data), "a.tif")


# PNG


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_one_grey_of_png_may_be_transparent(bits):
    stored = RNG.integers(0, 2**bits, (24, 16)).astype(np.uint16)
    key = int(stored[3, 5])
    data = png_of(stored, bits, 0, (b"tRNS", struct.pack(">H", key)))
    found = decode_picture(data, "a.png")
    most = 65535 if bits == 16 else 255
    np.testing.assert_array_equal(found.pixels[:, :, 0], stored * (most // (2**bits - 1)))
    np.testing.assert_array_equal(found.alpha, np.where(stored == key, 0, most))
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
    assert "a.png: holds more than one picture: the first is taken" in caplog.text


# Other formats


ROWS, COLUMNS = np.mgrid[0:24, 0:32] // 8
HEIC_PIXELS = np.stack([80 * COLUMNS, 120 * ROWS, 250 - 60 * COLUMNS], -1)


def test_heic():
    found = decode_picture(heic_files.ALPHA, "IMG_0001.HEIC")
    np.testing.assert_array_equal(found.pixels, HEIC_PIXELS)
    np.testing.assert_array_equal(found.alpha, 80 * COLUMNS)
    found = decode_picture(heic_files.TURNED, "IMG_0002.HEIC")
    np.testing.assert_array_equal(found.pixels, np.rot90(HEIC_PIXELS, -1))
    assert found.icc_profile is not None
    again = Image.open(io.BytesIO(encode_picture(found, ".png")))
    assert again.size == (24, 32)
    assert again.getexif()[271] == "Maker"
    assert again.getexif().get(274, 1) == 1
    found = decode_picture(heic_files.DEEP, "IMG_0003.HEIC")  # of 10 bits
    assert found.pixels.dtype == np.uint16
    assert np.abs(found.pixels / 257 - HEIC_PIXELS).max() <= 255 / 1023 / 2 + 1e-3
    assert found.pixels[HEIC_PIXELS == 250].min() == round(round(250 / 255 * 1023) / 1023 * 65535)
    with pytest.raises(InputError, match=r"a\.heic: an HDR picture \(PQ\)"):
        decode_picture(heic_files.HDR, "a.heic")


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_of_12_bits(channels):
    """A smooth picture at high quality stays within a few of 4095; PIL reads no such file."""
    smooth = cv2.resize(RNG.random((5, 7, channels)).astype(np.float32), (56, 40))
    stored = np.rint(smooth * 4095).astype(np.uint16)
    data = bytes(imagecodecs.jpeg8_encode(stored, level=98, bitspersample=12, subsampling="444"))
    tagged = Image.Exif()
    tagged[274] = 6
    exif = tagged.tobytes()
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    found = decode_picture(data[:2] + segment + data[2:], "a.jpg")
    expected = np.rot90(np.atleast_3d(stored), -1) * (65535 / 4095)
    assert np.abs(found.pixels - expected).mean() < 4 * 16
    assert found.pixels.dtype == np.uint16
    assert found.grey == (channels == 1)
    with pytest.raises(InputError, match=r"a\.jpg: damaged JPEG \(truncated\)"):
        decode_picture(data[: len(data) * 2 // 3], "a.jpg")


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("kind", ["BMP", "JPEG2000", "GIF", "AVIF"])
def test_other_formats_are_as_opencv_reads_them(kind, mode):
    low = cv2.resize(noise(5, 7, 4), (56, 40))
    image = Image.fromarray(low).convert(mode)
    data = file_of(image, kind, **({"quality": 100} if kind == "AVIF" else {}))
    found = decode_picture(data, "photo")
    assert found.pixels.dtype == np.uint8
    stored = np.asarray(image.convert("RGB"))
    if kind in ("BMP", "JPEG2000") and mode != "RGBA":
        np.testing.assert_array_equal(found.pixels, stored)
    expected = by_opencv(data) if kind != "AVIF" else imagecodecs.avif_decode(data)
    expected = np.atleast_3d(expected)
    rgb = np.repeat(expected[:, :, :1], 3, 2) if expected.shape[2] < 3 else expected[:, :, :3]
    visible = slice(None) if found.alpha is None else found.alpha > 0  # GIF has no colour there
    assert np.abs(found.pixels[visible].astype(int) - rgb[visible]).max() <= (kind == "AVIF")
    if mode == "RGBA" and kind not in ("BMP", "GIF"):
        assert np.abs(found.alpha.astype(int) - low[:, :, 3]).max() <= (kind == "AVIF")


@pytest.mark.parametrize("bits", [4, 10, 12, 16])
def test_jpeg_2000_of_other_depths(bits):
    stored = RNG.integers(0, 2**bits, (30, 50, 3)).astype(np.uint8 if bits == 4 else np.uint16)
    data = imagecodecs.jpeg2k_encode(stored, bitspersample=bits, reversible=True, level=0)
    found = decode_picture(bytes(data), "a.jp2")
    most = 255 if bits == 4 else 65535
    np.testing.assert_allclose(found.pixels, stored * (most / (2**bits - 1)), atol=0.5)


def jpeg_2000_of_space(number: int) -> bytes:
    data = file_of(Image.fromarray(LOW), "JPEG2000")
    colors = b"colr\1\0\0" + struct.pack(">I", 16)
    assert colors in data
    return data.replace(colors, colors[:-4] + struct.pack(">I", number))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (bytes(imagecodecs.jpeg2k_encode(noise(9, 9, 4), codecformat="j2k")), "4 channels, of"),
        (bytes(imagecodecs.jpeg2k_encode(noise(9, 9).astype(np.int16))), "numbers with signs"),
        (jpeg_2000_of_space(14), "colour space 14"),
    ],
)
def test_kinds_of_jpeg_2000_that_are_not_taken_are_named(data, message):
    with pytest.raises(InputError, match=rf"this kind of JPEG 2000 is not taken \({message}"):
        decode_picture(data, "a.jp2")


def test_avif_of_10_bits():
    stored = RNG.integers(0, 1024, (30, 50, 3)).astype(np.uint16)
    data = bytes(imagecodecs.avif_encode(stored, bitspersample=10, level=100))
    found = decode_picture(data, "a.avif")
    np.testing.assert_allclose(found.pixels, stored * (65535 / 1023), atol=0.5)


def test_a_file_is_read_as_what_it_is_and_that_is_said(caplog):
    image = Image.fromarray(noise(9, 8, 3))
    found = decode_picture(file_of(image, "PNG"), "holiday.jpg")
    np.testing.assert_array_equal(found.pixels, np.asarray(image))
    assert "holiday.jpg: is no .jpg but PNG: read as such" in caplog.text
    caplog.clear()
    for ending, kind in ((".jfif", "JPEG"), (".JPE", "JPEG"), (".mpo", "JPEG"), (".PNG", "PNG")):
        decode_picture(file_of(image, kind), "holiday" + ending)
    assert not caplog.text


def jpeg_of_12_bits() -> bytes:
    data = bytearray(file_of(Image.new("RGB", (16, 16)), "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (camera_raw(), "a camera's raw file: develop it first, to TIFF of 16 bits or to JPEG"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(90), "a camera's raw file: develop it first"),
        (b"FUJIFILMCCD-RAW 0201" + bytes(90), "a camera's raw file: develop it first"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(90), "a camera's raw file"),
        (b"\0\0\0\x18ftypmp42\0\0\0\1mp42isom" + bytes(90), "a video: save one picture of it"),
        (jpeg_of_12_bits(), "JPEG of 12 bits a channel: save it as PNG or TIFF of 16 bits"),
        (bytes(imagecodecs.jpegls_encode(noise(9, 9))), "JPEG-LS: save it as PNG"),
        (b"8BPS\0\1" + bytes(90), "a Photoshop document: export it as PNG or TIFF"),
        (b"%PDF-1.7\n", "a PDF: export the picture as PNG"),
        (b"\n<!DOCTYPE html><html>", "a web page, not the picture on it"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing: export it as PNG"),
        (b"\x76\x2f\x31\x01" + bytes(90), "OpenEXR, an HDR picture, brighter than white"),
        (b"#?RADIANCE\n", "Radiance HDR, an HDR picture"),
    ],
)
def test_what_is_not_read_is_named(data, message):
    with pytest.raises(InputError, match=message) as caught:
        decode_picture(data, "photo.jpg")
    assert str(caught.value).startswith("photo.jpg: ")
    assert "\n" not in str(caught.value)


def test_endings():
    for ending in (".dng", ".CR2", ".nef", ".arw"):
        with pytest.raises(InputError, match="IMG: a camera's raw file: develop it first"):
            check_ending(ending, "IMG")
    with pytest.raises(InputError, match="IMG: JPEG XR: save it as PNG"):
        check_ending(".jxr", "IMG")
    for ending in ENDINGS:
        check_ending(ending.upper(), "IMG")
    with pytest.raises(InputError, match=r"IMG: unknown ending '\.xyz': use \.jpg, \.jpeg"):
        check_ending(".xyz", "IMG")


def test_a_photo_of_a_format_that_is_not_written_becomes_png_and_that_is_said(caplog):
    caplog.set_level(logging.WARNING)
    for name in ("a.jpg", "a.JPEG", "a.jfif", "a.png", "a.webp", "a.tif", "a.bmp"):
        assert output_name(Path(name)) == name
    assert not caplog.text
    for name in ("a.heic", "a.AVIF", "a.gif", "a.jp2"):
        caplog.clear()
        assert output_name(Path(name)) == "a.png"
        assert f"{name}: this format is not written: the output ends in .png" in caplog.text
    caplog.clear()
    assert output_name(Path("a.heic"), ".tif") == "a.tif"
    assert not caplog.text


def test_the_limit_names_the_option_that_moves_it():
    data = file_of(Image.new("1", (2000, 1000)), "PNG")
    with pytest.raises(InputError, match=r"at most 1 megapixels are taken \(--max-megapixels\)"):
        decode_picture(data, "a.png", max_pixels=1_000_000)


@pytest.mark.parametrize(
    "data",
    [
        heic_files.ALPHA,
        heic_files.DEEP,
        file_of(Image.fromarray(LOW), "AVIF"),
        bytes(imagecodecs.avif_encode(LOW.astype(np.uint16), bitspersample=10)),
        file_of(Image.fromarray(LOW), "GIF"),
        file_of(Image.fromarray(LOW), "BMP"),
        file_of(Image.fromarray(LOW), "JPEG2000"),
        bytes(imagecodecs.jpeg2k_encode(LOW.astype(np.uint16), bitspersample=12, level=0)),
        tiff_of(LOW, photometric="rgb", compression="jpeg"),
        tiff_of(LOW, photometric="rgb", compression="webp"),
        tiff_of(LOW, photometric="rgb", bigtiff=True, byteorder=">"),
    ],
    ids=["heic", "heic10", "avif", "avif10", "gif", "bmp", "jp2", "jp2deep", "jpeg", "webp", "big"],
)
def test_what_is_cut_off_is_refused(data, capfd):
    for share in (0.02, 0.3, 0.6, 0.9):
        with pytest.raises(InputError, match="damaged") as caught:
            decode_picture(data[: int(share * len(data))], "photo")
        assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_damage_is_quiet_but_for_its_own_line(capfd):
    """Libraries write lines of their own to the terminal."""
    stored = cv2.resize(noise(9, 9, 3), (64, 64))
    data = tiff_of(stored, photometric="rgb", compression="lzw")
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        start = file.pages.first.dataoffsets[0]
    damaged = bytearray(data)
    damaged[start : start + 200] = RNG.bytes(200)
    for one in (bytes(damaged), data[:-50], data[: start + 40]):
        with pytest.raises(InputError, match="damaged TIFF"):
            decode_picture(one, "a.tif")
    profile = b"bad\0\0" + zlib.compress(bytes(200))
    known = png_of(noise(9, 9, 3, kind=np.uint16), 16, 2, (b"iCCP", profile))
    decode_picture(known, "a.png")
    assert png_chunk(b"iCCP", profile) in known
    assert capfd.readouterr() == ("", "")


def test_a_gif_that_says_it_is_huge_takes_no_memory(monkeypatch):
    data = bytearray(file_of(Image.new("P", (9, 9)), "GIF"))
    data[6:10] = b"\xff\xff\xff\xff"
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)  # as `expect_any_file` does
    with pytest.raises(InputError, match=r"at most 1 megapixels are taken \(--max-megapixels\)"):
        decode_picture(bytes(data), "a.gif", max_pixels=1_000_000)


def test_an_animation_of_more_than_8_bits_is_refused():
    frames = noise(2, 16, 16, 3).astype(np.uint16) * 4
    data = bytes(imagecodecs.avif_encode(frames, bitspersample=10))
    with pytest.raises(InputError, match=r"a\.avif: an animation of 10 bits a channel"):
        decode_picture(data, "a.avif")


def test_libraries_are_quiet_where_nothing_listens(tmp_path):
    """Some log, some write to the terminal itself, and one takes the process down."""
    interlaced = bytearray(png_of(noise(1, 1, 3, kind=np.uint16), 16, 2))
    interlaced[28] = 1
    interlaced[29:33] = struct.pack(">I", zlib.crc32(interlaced[12:29]))
    lines = Image.fromarray(np.eye(64, dtype=bool))
    fax = bytearray(file_of(lines, "TIFF", compression="group4"))
    palette = bytearray(file_of(Image.fromarray(LOW).convert("P"), "TIFF", compression="tiff_lzw"))
    for data in (fax, palette):
        with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
            start = file.pages.first.dataoffsets[0]
        data[start + 8 : start + 30] = RNG.bytes(22)
    heic = heic_files.TURNED.replace(b"\0Exif\0", b"\0E\xeaif\0", 1)
    assert heic != heic_files.TURNED
    files = {"a.png": interlaced, "b.tif": fax, "c.tif": palette, "d.heic": heic}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    code = """
import sys
from harmony_jax import InputError
from harmony_jax.photos.decoding import read_picture
for name in sys.argv[1:]:
    try:
        print(read_picture(name).pixels.shape)
    except InputError as error:
        print(error)
"""
    command = [sys.executable, "-c", code, *files]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    shape, fax_line, palette_line, heic_line = result.stdout.splitlines()
    assert shape == "(1, 1, 3)"
    assert fax_line == "(64, 64, 3)"
    assert palette_line.startswith("c.tif: damaged TIFF")
    assert heic_line.startswith("d.heic: not a picture, or a damaged one")
