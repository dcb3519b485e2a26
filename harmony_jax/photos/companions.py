"""What comes with a picture beside its pixels, colours and EXIF, from one file to another."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from PIL import Image, JpegImagePlugin

_PHOTOSHOP_IPTC = 0x0404  # among Photoshop's resources
_INCH = 0.0254  # metres
# In XMP: which way up the stored picture is, which is written upright; and the gain map or the
# other pictures behind it, which are not written.
_XMP_TURNS = (
    re.compile(rb'(tiff:Orientation\s*=\s*["\'])[2-8](["\'])'),
    re.compile(rb"(<tiff:Orientation>)[2-8](</tiff:Orientation>)"),
)
_XMP_OTHERS = re.compile(rb"hdrgm:|GContainer|HDRGainMap")


class JpegTables(NamedTuple):
    """How a JPEG was compressed.

    Attributes:
        tables: of quantization, 64 numbers each, row by row.
        subsampling: of colour, as PIL counts: 0, whole; 1, halved across; 2, halved both ways.
    """

    tables: tuple[tuple[int, ...], ...]
    subsampling: int


class Companions(NamedTuple):
    """What comes with a picture.

    Attributes:
        resolution: pixels an inch, across and down, or None if none is told.
        xmp: a packet of XMP.
        iptc: a block of IPTC-IIM.
        text: PNG's chunks of text, kinds and contents.
        geo: fields of GeoTIFF and GDAL: tag, type and value.
        jpeg: how it was compressed, if it was a JPEG.
    """

    resolution: tuple[float, float] | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    text: tuple[tuple[bytes, bytes], ...] = ()
    geo: tuple[tuple[int, int, Any], ...] = ()
    jpeg: JpegTables | None = None


def resolution_of(image: Image.Image) -> tuple[float, float] | None:
    """Pixels an inch as a file tells them, outside of EXIF."""
    if "jfif" in image.info and image.info.get("jfif_unit") == 0:  # a ratio alone
        return None
    try:
        across, down = (float(value) for value in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 0 < across < 1e5 and 0 < down < 1e5 else None


def xmp_of(info: Mapping[Any, Any]) -> bytes | None:
    """The XMP in what PIL tells of a file, or None."""
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp")
    return xmp.encode() if isinstance(xmp, str) else xmp or None


def upright_xmp(xmp: bytes | None) -> bytes | None:
    """XMP that says that the picture is stored upright."""
    if xmp is not None:
        for pattern in _XMP_TURNS:
            xmp = pattern.sub(rb"\g<1>1\g<2>", xmp)
    return xmp


def tells_of_others(xmp: bytes | None) -> bool:
    """Whether XMP describes a gain map or other pictures in the file it was in."""
    return xmp is not None and _XMP_OTHERS.search(xmp) is not None


def iptc_of(image: Image.Image) -> bytes | None:
    """A JPEG's IPTC, or None."""
    resources = image.info.get("photoshop")
    found = resources.get(_PHOTOSHOP_IPTC) if isinstance(resources, dict) else None
    return found if isinstance(found, bytes) and found else None


def jpeg_tables_of(image: Image.Image) -> JpegTables | None:
    """How a JPEG of grey or YCbCr was compressed; None for all others."""
    if not isinstance(image, JpegImagePlugin.JpegImageFile) or image.mode not in ("L", "RGB"):
        return None
    if image.mode == "RGB" and image.info.get("adobe_transform", 1) != 1:  # stored as RGB
        return None
    tables = tuple(tuple(table) for _, table in sorted(image.quantization.items()))
    if not 1 <= len(tables) <= 2 or max(map(max, tables)) > 255:
        return None
    return JpegTables(tables, max(JpegImagePlugin.get_sampling(image), 0))


def turned_sideways(companions: Companions) -> Companions:
    """What comes with a picture of which rows become columns."""
    jpeg, resolution = companions.jpeg, companions.resolution
    if jpeg is not None:
        turned = (tuple(table[8 * (i % 8) + i // 8] for i in range(64)) for table in jpeg.tables)
        jpeg = JpegTables(tuple(turned), 0 if jpeg.subsampling == 1 else jpeg.subsampling)
    if resolution is not None:
        resolution = resolution[::-1]
    return companions._replace(jpeg=jpeg, resolution=resolution)


def iptc_segment(iptc: bytes) -> bytes | None:
    """IPTC as a segment of JPEG, in Photoshop's form; None if it is too long for one."""
    content = b"Photoshop 3.0\x008BIM" + _PHOTOSHOP_IPTC.to_bytes(2, "big") + b"\0\0"
    content += len(iptc).to_bytes(4, "big") + iptc + b"\0" * (len(iptc) % 2)
    if len(content) > 65_533:
        return None
    return b"\xff\xed" + (len(content) + 2).to_bytes(2, "big") + content


def pixels_a_metre(resolution: tuple[float, float]) -> tuple[int, int]:
    """Pixels an inch as PNG stores them."""
    return round(resolution[0] / _INCH), round(resolution[1] / _INCH)
