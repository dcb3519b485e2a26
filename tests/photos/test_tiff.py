"""TIFF against numbers known by construction and decoders that the project does not use."""

import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from harmony_jax import InputError
from harmony_jax.photos.color import profile_of_code_points
from harmony_jax.photos.decoding import count_pixels, decode_picture
from harmony_jax.photos.masks import mask_of
from tests.photos.files import RNG, file_of, first_page, noise, smooth, tiff_of

RGB = {"photometric": "rgb"}


def read(data: bytes):
    return decode_picture(bytes(data), "a.tif")


def stored_as(pixels: np.ndarray, planes: bool, **options) -> bytes:
    if not planes:
        return tiff_of(pixels, planarconfig="contig", **options)
    apart = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
    return tiff_of(apart, planarconfig="separate", **options)


def ideal(inks: np.ndarray) -> np.ndarray:
    """CMYK over its whole range as RGB in [0, 255]."""
    inks = inks / np.iinfo(inks.dtype).max
    return 255 * (1 - inks[..., :3]) * (1 - inks[..., 3:4])


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("compression", [None, "lzw", "adobe_deflate", "packbits"])
@pytest.mark.parametrize("planes", [False, True])
def test_channels(kind, compression, planes):
    """Grey and RGB with alpha, and CMYK with and without."""
    options = {"compression": compression, "byteorder": ">"}
    for channels, meaning in ((2, "minisblack"), (4, "rgb")):
        stored = noise(30, 50, channels, kind=kind)
        alpha = {"photometric": meaning, "extrasamples": ["unassalpha"]}
        found = read(stored_as(stored, planes, **alpha, **options))
        np.testing.assert_array_equal(found.pixels[:, :, 0], stored[:, :, 0])
        np.testing.assert_array_equal(found.alpha, stored[:, :, -1])
        assert found.grey == (channels == 2)
    for channels, more in ((4, {}), (5, {"extrasamples": ["unassalpha"]})):
        stored = noise(30, 50, channels, kind=kind)
        found = read(stored_as(stored, planes, photometric="separated", **more, **options))
        assert np.abs(found.pixels - ideal(stored)).max() <= 1.5
        assert found.pixels.dtype == np.uint8
        if channels == 5:
            np.testing.assert_allclose(
                found.alpha, stored[:, :, 4] // (257 ** (kind != np.uint8)), atol=1
            )


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    "options",
    [
        *({"byteorder": order, "bigtiff": big} for order in "<>" for big in (False, True)),
        {"compression": "lzw", "predictor": True},
        {"compression": "adobe_deflate", "tile": (16, 32), "byteorder": ">"},
        {"compression": "webp", "compressionargs": {"level": 100, "lossless": True}},
        *({"compression": name} for name in ("zstd", "lzma", "jpeg2000", "png", "lerc")),
    ],
)
def test_layouts_and_compressions(options, kind):
    if options.get("compression") == "webp":
        kind = np.uint8
    stored = noise(30, 50, 3, kind=kind)
    data = tiff_of(stored, **RGB, **options)
    found = read(data).pixels
    np.testing.assert_array_equal(found, stored)
    assert found.dtype.isnative
    assert count_pixels(data, "a.tif") == 1500


@pytest.mark.parametrize(("bits", "channels"), [(10, 3), (12, 1), (12, 3), (14, 3)])
def test_few_bits_keep_their_range(bits, channels):
    """Packed by hand: numbers of so many bits one after another, each row from a whole byte."""
    stored = RNG.integers(0, 2**bits, (30, 40, channels)).astype(np.uint16)
    wide = np.unpackbits(stored.astype(">u2").view(np.uint8).reshape(30, -1, 2), axis=2)
    packed = np.packbits(wide[:, :, 16 - bits :].reshape(30, -1), axis=1)
    whole = noise(30, 40, channels, kind=np.uint16)
    data = bytearray(tiff_of(whole[:, :, 0]) if channels == 1 else tiff_of(whole, **RGB))
    page = first_page(data)
    counts = page.tags["StripByteCounts"]
    at = page.tags["BitsPerSample"].valueoffset
    data[at : at + 2 * channels] = struct.pack(f"<{channels}H", *[bits] * channels)
    struct.pack_into({3: "<H", 4: "<I"}[counts.dtype], data, counts.valueoffset, packed.size)
    start = page.dataoffsets[0]
    data[start : start + packed.size] = packed.tobytes()
    found = read(data)
    expected = np.broadcast_to(stored * (65535 / (2**bits - 1)), (30, 40, 3))
    np.testing.assert_allclose(found.pixels, expected, atol=0.5)
    assert found.grey == (channels == 1)


def test_white_may_be_zero():
    stored = noise(30, 50, kind=np.uint16)
    found = read(tiff_of(stored, photometric="miniswhite"))
    np.testing.assert_array_equal(found.pixels[:, :, 2], 65535 - stored)


@pytest.mark.parametrize(
    ("mode", "compression"),
    [
        *((mode, name) for mode in ("L", "P", "RGB") for name in (None, "tiff_lzw")),
        *(("L", "jpeg"), ("RGB", "jpeg"), ("1", "group4")),
    ],
)
def test_usual_files_are_as_opencv_reads_them(mode, compression):
    data = file_of(Image.fromarray(smooth()).convert(mode), "TIFF", compression=compression)
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.abs(read(data).pixels.astype(int) - expected).max() <= (compression == "jpeg")


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
    data[first_page(data).tags["PhotometricInterpretation"].valueoffset] = 3
    found = read(data)
    np.testing.assert_array_equal(found.pixels, (colors.T >> 8)[indices])
    np.testing.assert_array_equal(found.alpha, alpha)


def test_a_fourth_channel_is_what_the_file_says():
    stored = noise(30, 50, 4, kind=np.uint16)
    stored[:, :, 3] |= 1 << 14
    colors, alpha = stored[:, :, :3], stored[:, :, 3:]
    found = read(tiff_of(stored, **RGB, extrasamples=["unspecified"]))
    np.testing.assert_array_equal(found.pixels, colors)
    assert found.alpha is None
    dark = np.concatenate([np.rint(colors * (alpha / 65535)), alpha], 2).astype(np.uint16)
    found = read(tiff_of(dark, **RGB, extrasamples=["assocalpha"]))
    np.testing.assert_allclose(found.pixels, colors, atol=2.01)
    np.testing.assert_array_equal(found.alpha, alpha[:, :, 0])


@pytest.mark.parametrize("orientation", [1, 2, 5, 6])
@pytest.mark.parametrize("mode", ["1", "P", "YCbCr", "deep"])
def test_pictures_are_turned_once(mode, orientation):
    """Fax, palette, YCbCr and 16 bits go four ways; one decoder turns by itself."""
    turns = {
        1: np.asarray,
        2: np.fliplr,
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
    }
    if mode == "deep":
        stored = noise(30, 50, 3, kind=np.uint16)
        data = tiff_of(stored, **RGB, extratags=[(274, "H", 1, orientation, True)])
    else:
        image = Image.fromarray(smooth()).convert(mode)
        options = {"compression": "group4"} if mode == "1" else {}
        data = file_of(image, "TIFF", tiffinfo={274: orientation}, **options)
        stored = np.asarray(image.convert("RGB"))
    expected, found = turns[orientation](stored.astype(int)), read(data).pixels
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < (2 if mode == "YCbCr" else 1e-9)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (tiff_of(noise(9, 9, 3).astype(np.int8), **RGB), "signed numbers of 8 bits"),
        (tiff_of(noise(9, 9).astype(np.int16)), "signed numbers of 16 bits"),
        (tiff_of(noise(9, 9, 3).astype(np.float32), **RGB), "floating point numbers of 32"),
        (tiff_of(noise(9, 9, 3).astype(np.float16), **RGB), "floating point numbers of 16"),
        (file_of(Image.new("F", (9, 9)), "TIFF"), "floating point numbers of 32"),
        (tiff_of(noise(9, 9).astype(np.uint32)), "32 bits"),
        (tiff_of(np.zeros((9, 9), np.complex64)), "numbers of kind 6"),
        (tiff_of(noise(9, 9, 3), photometric="cielab"), "CIELAB"),
    ],
)
def test_variants_that_are_not_taken_are_named(data, reason):
    with pytest.raises(InputError, match=rf"a\.tif: this kind of TIFF is not taken \(.*{reason}"):
        read(data)


def test_numbers_of_32_bits_go_from_black_to_white(caplog):
    """As ImageMagick and GIMP write them: TIFF 6.0 gives integers their whole range."""
    stored = RNG.integers(0, 2**32, (30, 40, 3)).astype(np.uint32)
    stored[0, :2] = [[0] * 3, [2**32 - 1] * 3]
    found = read(tiff_of(stored, **RGB))
    np.testing.assert_allclose(found.pixels, stored / (2**32 - 1) * 65535, atol=0.5)
    assert "a.tif: holds numbers of 32 bits" in caplog.text


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_floating_point_of_a_mask_needs_no_profile(kind):
    shares = np.linspace(0, 1, 63).reshape(9, 7).astype(kind)
    data = tiff_of(shares, photometric="minisblack")
    found = mask_of(decode_picture(data, "m.tif", is_mask=True)).mask
    np.testing.assert_allclose(found, shares.astype(float) * 255, atol=0.51)
    with pytest.raises(InputError, match=r"m\.tif: .*floating point"):
        decode_picture(data, "m.tif")


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_floating_point_with_a_profile(kind):
    linear = profile_of_code_points(9, 8)  # BT.2020 in linear light
    stored = RNG.random((30, 40, 3)).astype(kind)
    options = {**RGB, "iccprofile": linear}
    found = read(tiff_of(stored, **options))
    np.testing.assert_allclose(found.pixels, stored.astype(float) * 65535, atol=0.51)
    assert found.icc_profile == linear
    for wrong in (2, -1, np.nan, np.inf):
        stored[3, 4, 1] = wrong
        with pytest.raises(InputError, match=r"a\.tif: .* HDR"):
            read(tiff_of(stored, **options))
    with pytest.raises(InputError, match="without a usable colour profile"):
        read(tiff_of(stored, **RGB, iccprofile=bytes(200)))


def test_planes_in_an_order_that_is_no_number_are_refused():
    """A field of another type is neither; two of three planes would be what lay in memory."""
    data = bytearray(tiff_of(noise(9, 9, 3), **RGB))
    data[first_page(data).tags["PlanarConfiguration"].offset + 2] = (
        7  # bytes, of which there is one
    )
    with pytest.raises(InputError, match=r"a\.tif: .* not taken \(pixels in an unknown order"):
        read(data)


@pytest.mark.parametrize("compression", [None, "lzw", "zstd"])
def test_a_file_with_missing_pixels_is_refused(compression):
    data = tiff_of(noise(30, 50, 3, kind=np.uint16), **RGB, rowsperstrip=7, compression=compression)
    page = first_page(data)
    end = page.dataoffsets[-1] + page.databytecounts[-1]
    counts = page.tags["StripByteCounts"]
    empty = bytearray(data)
    size = {3: 2, 4: 4}[counts.dtype]
    empty[counts.valueoffset : counts.valueoffset + size] = bytes(size)
    for damaged in (*(data[:kept] for kept in (end - 1, end - 100, end // 2, 300)), empty):
        with pytest.raises(InputError, match=r"damaged TIFF \(some of the pixels"):
            read(damaged)


def test_of_several_pages_the_first_is_taken(caplog):
    first, second = (Image.fromarray(smooth()) for _ in range(2))
    found = read(file_of(first, "TIFF", save_all=True, append_images=[second]))
    np.testing.assert_array_equal(found.pixels, np.asarray(first))
    assert "a.tif: holds more than one picture" in caplog.text
