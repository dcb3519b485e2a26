"""Files of all kinds against decoders that the project does not use, and damaged ones."""

import faulthandler
import io
import struct
import zlib

import cv2
import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from harmony_jax import InputError
from harmony_jax.photos.decoding import decode_picture, picture_of, read_picture
from harmony_jax.photos.encoding import encode_picture
from harmony_jax.photos.picture import Picture
from tests.photos.files import (
    RNG,
    blocks,
    exif,
    file_of,
    noise,
    png_chunk,
    sample,
    smooth,
    tiff_of,
)

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

# PIL's own warnings about damaged files; commands turn them off.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::RuntimeWarning:PIL")


def by_opencv(data: bytes) -> np.ndarray:
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return found[:, :, [2, 1, 0, 3][: found.shape[2]]] if found.ndim == 3 else found[:, :, None]


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *(("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
        *(("TIFF", mode) for mode in ("CMYK", "RGB", "RGBA")),
        *(("JPEG", mode) for mode in ("YCbCr", "L")),
    ],
)
def test_kinds_of_pixels(kind, mode):
    image = Image.fromarray(smooth(channels=4)).convert("RGBA")
    image = image if mode in ("RGBA", "LA") else image.convert("RGB")
    data = file_of(image.convert(mode), kind)
    found = decode_picture(data, "photo")
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(found.pixels, expected)
    assert found.pixels.dtype == np.uint8
    assert found.grey == (mode in ("L", "1", "LA"))
    if mode in ("LA", "RGBA"):
        np.testing.assert_array_equal(found.alpha, np.asarray(image.getchannel("A")))
    else:
        assert found.alpha is None


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("kind", ["BMP", "JPEG2000", "GIF", "AVIF", "WEBP", "JPEG"])
def test_formats_are_as_another_decoder_reads_them(kind, mode):
    stored = smooth(channels=4)
    image = Image.fromarray(stored).convert("RGB" if (kind, mode) == ("JPEG", "RGBA") else mode)
    data = file_of(image, kind, **({"quality": 100} if kind == "AVIF" else {}))
    found = decode_picture(data, "photo")
    assert found.pixels.dtype == np.uint8
    expected = by_opencv(data) if kind != "AVIF" else np.atleast_3d(imagecodecs.avif_decode(data))
    rgb = np.repeat(expected[:, :, :1], 3, 2) if expected.shape[2] < 3 else expected[:, :, :3]
    visible = slice(None) if found.alpha is None else found.alpha > 0  # GIF has no colour there
    lossy = kind in ("AVIF", "WEBP", "JPEG")
    assert np.abs(found.pixels[visible].astype(int) - rgb[visible]).max() <= lossy
    if mode == "RGBA" and kind not in ("BMP", "GIF", "JPEG"):
        assert np.abs(found.alpha.astype(int) - stored[:, :, 3]).max() <= (kind == "AVIF")


def test_a_transparent_palette_has_an_alpha_channel():
    image = Image.fromarray(smooth()).quantize(16)
    found = decode_picture(file_of(image, "PNG", transparency=3), "photo")
    np.testing.assert_array_equal(found.alpha, np.where(np.asarray(image) == 3, 0, 255))


def test_cmyk_goes_through_its_profile_and_leaves_it_behind(caplog):
    cmyk = Image.fromarray(smooth()).convert("CMYK")
    # There is no ink profile at hand, so an unusable one: it is named and left out.
    found = decode_picture(file_of(cmyk, "TIFF", icc_profile=PROFILE), "photo")
    np.testing.assert_array_equal(found.pixels, np.asarray(cmyk.convert("RGB")))
    assert found.icc_profile is None
    assert "photo: its colour profile is unusable" in caplog.text


@pytest.mark.parametrize(
    ("kind", "bits"),
    [*(("JPEG2000", bits) for bits in (4, 10, 12, 16)), ("AVIF", 10), ("AVIF", 12)],
)
def test_other_depths(kind, bits):
    stored = RNG.integers(0, 2**bits, (30, 50, 3)).astype(np.uint8 if bits == 4 else np.uint16)
    if kind == "AVIF":
        data = imagecodecs.avif_encode(stored, bitspersample=bits, level=100)
    else:
        data = imagecodecs.jpeg2k_encode(stored, bitspersample=bits, reversible=True, level=0)
    found = decode_picture(bytes(data), "photo")
    most = 255 if bits == 4 else 65535
    np.testing.assert_allclose(found.pixels, stored * (most / (2**bits - 1)), atol=0.5)


def test_an_animation_of_more_than_8_bits_is_refused():
    frames = noise(2, 16, 16, 3).astype(np.uint16) * 4
    data = bytes(imagecodecs.avif_encode(frames, bitspersample=10))
    with pytest.raises(InputError, match=r"a\.avif: an animation of 10 bits"):
        decode_picture(data, "a.avif")


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_of_12_bits(channels):
    """A smooth picture at high quality stays within a few of 4095; PIL reads no such file."""
    low = cv2.resize(RNG.random((5, 7, channels)).astype(np.float32), (56, 40))
    stored = np.rint(low * 4095).astype(np.uint16)
    data = bytes(imagecodecs.jpeg8_encode(stored, level=98, bitspersample=12, subsampling="444"))
    fields = exif(6).tobytes()
    segment = b"\xff\xe1" + struct.pack(">H", len(fields) + 2) + fields
    found = decode_picture(data[:2] + segment + data[2:], "a.jpg")
    expected = np.rot90(np.atleast_3d(stored), -1) * (65535 / 4095)
    assert np.abs(found.pixels - expected).mean() < 4 * 16
    assert found.pixels.dtype == np.uint16
    assert found.grey == (channels == 1)
    with pytest.raises(InputError, match=r"a\.jpg: damaged JPEG \(truncated\)"):
        decode_picture(data[: len(data) * 2 // 3], "a.jpg")


def test_heic():
    found = decode_picture(sample("alpha.heic"), "IMG_0001.HEIC")
    np.testing.assert_array_equal(found.pixels, blocks())
    np.testing.assert_array_equal(found.alpha, blocks()[:, :, 0])
    found = decode_picture(sample("turned.heic"), "IMG_0002.HEIC")
    np.testing.assert_array_equal(found.pixels, np.rot90(blocks(), -1))
    assert found.icc_profile is not None
    again = Image.open(io.BytesIO(encode_picture(found, ".png")))
    assert again.size == (24, 32)
    assert again.getexif()[271] == "Maker"
    assert again.getexif().get(274, 1) == 1
    found = decode_picture(sample("deep.heic"), "IMG_0003.HEIC")  # of 10 bits
    assert found.pixels.dtype == np.uint16
    assert np.abs(found.pixels / 257 - blocks()).max() <= 255 / 1023 / 2 + 1e-3
    assert found.pixels[blocks() == 250].min() == round(round(250 / 255 * 1023) / 1023 * 65535)
    with pytest.raises(InputError, match=r"a\.heic: an HDR picture \(PQ\)"):
        decode_picture(sample("hdr.heic"), "a.heic")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "16 bits"])
def test_pictures_are_turned_upright_once(kind, orientation):
    if kind == "16 bits":
        stored = Picture(smooth().astype(np.uint16) * 257, exif=exif(orientation).tobytes())
        data, flat = encode_picture(stored, ".png"), stored.pixels // 257
    else:
        pixels = smooth()
        data = file_of(pixels, kind, exif=exif(orientation))
        flat = np.asarray(Image.open(io.BytesIO(file_of(pixels, kind))))  # PIL turns TIFF itself
    turned = Image.fromarray(flat.astype(np.uint8))
    turned.getexif()[274] = orientation
    upright = ImageOps.exif_transpose(turned)
    found = decode_picture(data, "photo")
    factor = 257 if kind == "16 bits" else 1
    np.testing.assert_array_equal(found.pixels, np.asarray(upright) * np.uint16(factor))
    again = decode_picture(encode_picture(found, ".png"), "photo")
    np.testing.assert_array_equal(again.pixels, found.pixels)


def test_a_pil_image_of_any_kind():
    pixels = smooth(channels=4)
    found = picture_of(Image.fromarray(pixels))
    np.testing.assert_array_equal(found.pixels, pixels[:, :, :3])
    np.testing.assert_array_equal(found.alpha, pixels[:, :, 3])
    assert picture_of(Image.fromarray(pixels[:, :, 0])).grey
    deep = noise(9, 8, kind=np.uint16)
    np.testing.assert_array_equal(picture_of(Image.fromarray(deep)).pixels[:, :, 2], deep)
    with pytest.raises(InputError, match="PIL image: pixels of kind F"):
        picture_of(Image.fromarray(np.zeros((4, 4), np.float32)))


def png_header(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b"\0" * 100_000))
    return b"\x89PNG\r\n\x1a\n" + chunks + png_chunk(b"IEND", b"")


def huge_gif() -> bytes:
    data = bytearray(file_of(Image.new("P", (9, 9)), "GIF"))
    data[6:10] = b"\xff\xff\xff\xff"
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"not a picture", "not a picture, or a damaged one: expected JPEG, PNG"),
        (file_of(Image.new("RGB", (9, 9)), "PPM"), "not a picture, or a damaged one"),
        (png_header(60_000, 60_000), "too many pixels: at most 100 megapixels .*: make it smaller"),
        (huge_gif(), "too many pixels: at most 100 megapixels"),
        (png_header(15_000, 8_000), "15000 x 8000 pixels: at most 100 megapixels"),
        (png_header(300, 300)[:-60], "damaged PNG"),
        (
            sample("turned.heic").replace(b"\0Exif\0", b"\0E\xeaif\0", 1),
            "not a picture, or a damaged",
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


def test_too_little_memory_is_no_damage(monkeypatch):
    def no_memory(self):
        raise MemoryError

    data = file_of(Image.new("RGB", (9, 9)), "PNG")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", no_memory)
    with pytest.raises(InputError, match=r"photo\.png: not enough memory"):
        decode_picture(data, "photo.png")


SEEDS = {
    "heic": sample("alpha.heic"),
    "heic10": sample("deep.heic"),
    "heic turned": sample("turned.heic"),
    "avif": file_of(smooth(), "AVIF"),
    "avif10": bytes(imagecodecs.avif_encode(smooth().astype(np.uint16), bitspersample=10)),
    "gif": file_of(smooth(), "GIF"),
    "bmp": file_of(smooth(), "BMP"),
    "jp2": file_of(smooth(), "JPEG2000"),
    "jp2deep": bytes(
        imagecodecs.jpeg2k_encode(smooth().astype(np.uint16), bitspersample=12, level=0)
    ),
    "tiff jpeg": tiff_of(smooth(), photometric="rgb", compression="jpeg"),
    "tiff webp": tiff_of(smooth(), photometric="rgb", compression="webp"),
    "tiff big": tiff_of(smooth(), photometric="rgb", bigtiff=True, byteorder=">"),
    "jxl P3": sample("p3.jxl"),
    "jxl alpha": sample("alpha.jxl"),
    "jxl turned": sample("turned.jxl"),
    "jxl jpeg": sample("jpeg.jxl"),
}


USUAL = [
    *(("JPEG", mode, {}) for mode in ("RGB", "L", "CMYK")),
    ("JPEG", "RGB", {"progressive": True}),
    *(("PNG", mode, {}) for mode in ("RGB", "RGBA", "L", "LA", "P", "1")),
    *(("WEBP", "RGBA", {"lossless": lossless}) for lossless in (False, True)),
    *(("TIFF", mode, {}) for mode in ("RGB", "RGBA", "L", "LA", "P", "CMYK", "1")),
    *(("TIFF", "RGB", {"compression": f"tiff_{name}"}) for name in ("lzw", "adobe_deflate")),
]


@pytest.mark.parametrize("name", SEEDS)
def test_what_is_cut_off_is_refused(name, capfd):
    for share in (0.02, 0.3, 0.6, 0.9):
        with pytest.raises(InputError, match="damaged") as caught:
            decode_picture(SEEDS[name][: int(share * len(SEEDS[name]))], "photo")
        assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_1000_damaged_files_are_read_or_refused_in_one_line(capfd):
    image, deep = Image.fromarray(smooth(channels=4)), smooth().astype(np.uint16) * 257
    files = [
        *(file_of(image.convert(mode), kind, exif=exif(6), **more) for kind, mode, more in USUAL),
        *(encode_picture(Picture(deep), ending) for ending in (".png", ".tif")),
        *(tiff_of(deep, photometric="rgb"), tiff_of(smooth(), compression="zstd")),
        *SEEDS.values(),
    ]
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
    assert capfd.readouterr() == ("", "")
