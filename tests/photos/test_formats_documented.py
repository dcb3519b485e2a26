"""The tables of docs/harmonize.md, against what is done."""

import re
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import ExifTags, Image

from harmony_jax.photos.companions import Companions
from harmony_jax.photos.formats import (
    ENDINGS,
    WRITTEN_ENDINGS,
    Picture,
    decode_picture,
    encode_picture,
    output_name,
)

TEXT = (Path(__file__).parents[2] / "docs" / "harmonize.md").read_text()
FORMAT_OF = {".jpg": "JPEG", ".png": "PNG", ".webp": "WebP", ".tif": "TIFF", ".bmp": "BMP"}


def table(first_cell: str) -> list[list[str]]:
    """The rows of the table whose header begins so, the header first."""
    lines = TEXT[TEXT.index(f"| {first_cell} |") :].splitlines()
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return [rows[0], *rows[2:]]


def test_every_ending_is_listed_with_what_becomes_of_it():
    listed = {
        ending: written
        for _, endings, _, written in table("file")[1:]
        for ending in re.findall(r"\.\w+", endings)
    }
    assert set(listed) == set(ENDINGS)
    for ending, written in listed.items():
        name = output_name(Path("a" + ending))
        same = {".jpeg": ".jpg", ".jpe": ".jpg", ".jfif": ".jpg", ".tiff": ".tif"}
        found = Path(name).suffix
        assert FORMAT_OF[same.get(found, found)] == written


def full_picture() -> Picture:
    fields = Image.Exif()
    fields[ExifTags.Base.Make] = "Maker"
    fields[0x4746] = 5
    pixels = np.random.default_rng(0).integers(0, 65536, (16, 16)).astype(np.uint16)
    return Picture(
        np.repeat(pixels[:, :, None], 3, 2),
        pixels[::-1].copy(),
        False,
        imagecodecs.cms_profile("adobergb"),
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
    data = encode_picture(picture, ending)
    found = decode_picture(data, "a" + ending)
    if what == "16 bits":
        return found.pixels.dtype == np.uint16
    if what == "alpha":
        return found.alpha is not None
    if what == "grey":
        plain = picture._replace(grey=True, alpha=None, icc_profile=None)
        return decode_picture(encode_picture(plain, ending), "a" + ending).grey
    if what == "ICC profile":
        return found.icc_profile == picture.icc_profile
    if what.startswith("EXIF"):
        fields = Image.Exif()
        fields.load(found.exif or b"")
        return fields.get(ExifTags.Base.Make) == "Maker" and fields.get(0x4746) == 5
    if what == "resolution":
        resolution = found.companions.resolution
        if resolution is None and found.exif:  # WebP has it there alone
            fields = Image.Exif()
            fields.load(found.exif)
            resolution = fields[ExifTags.Base.XResolution], fields[ExifTags.Base.YResolution]
        return resolution is not None and abs(float(resolution[0]) - 300) < 0.02
    if what == "XMP":
        return found.companions.xmp == picture.companions.xmp
    if what == "IPTC":
        return found.companions.iptc == picture.companions.iptc
    if what.startswith("PNG's texts"):
        return found.companions.text == picture.companions.text
    assert what == "GeoTIFF's fields"
    return found.companions.geo == picture.companions.geo


def test_what_is_kept():
    (_, *formats), *rows = table("kept in")
    endings = {name: ending for ending, name in FORMAT_OF.items()}
    assert len(WRITTEN_ENDINGS) == 9
    assert len(rows) == 10
    picture = full_picture()
    for what, *cells in rows:
        for name, cell in zip(formats, cells, strict=True):
            assert cell == ("yes" if is_kept(what, picture, endings[name]) else "no"), (what, name)
