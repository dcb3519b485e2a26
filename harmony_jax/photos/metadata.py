"""EXIF, XMP, IPTC and other metadata, from one file to another."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from PIL import ExifTags, Image, JpegImagePlugin, TiffImagePlugin

from harmony_jax.photos.picture import Companions, JpegTables

# EXIF fields about the photograph. The others describe the file it was in: its size, its strips, a
# thumbnail of the picture before.
_Base = ExifTags.Base
_KEPT = (
    *(_Base.ImageDescription, _Base.Make, _Base.Model, _Base.Software, _Base.DateTime),
    *(_Base.XResolution, _Base.YResolution, _Base.ResolutionUnit),
    *(_Base.Artist, _Base.HostComputer, _Base.Copyright, _Base.Rating, _Base.RatingPercent),
    *(_Base.XPTitle, _Base.XPComment, _Base.XPAuthor, _Base.XPKeywords, _Base.XPSubject),
)
_KEPT_IFDS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_SIZE = (_Base.ExifImageWidth, _Base.ExifImageHeight)  # wrong once the picture is turned

_PHOTOSHOP_IPTC = 0x0404  # among Photoshop's resources
# In XMP: the orientation of the stored picture, which is written upright; and the gain map or
# further pictures, which are not written.
_XMP_TURNS = (
    re.compile(rb'(tiff:Orientation\s*=\s*["\'])[2-8](["\'])'),
    re.compile(rb"(<tiff:Orientation>)[2-8](</tiff:Orientation>)"),
)
_XMP_OTHERS = re.compile(rb"hdrgm:|GContainer|HDRGainMap")


class ExifFound(NamedTuple):
    """What EXIF says."""

    orientation: int  # how the picture is stored (Exif 2.32, tag 0x0112); 1 if EXIF does not say
    kept: bytes | None  # the fields to keep, as `PIL.Image.Exif.tobytes`
    is_adobe_rgb: bool  # a camera declares Adobe RGB (DCF 2.0)
    is_damaged: bool  # some fields could not be kept


def load_exif(data: bytes) -> Image.Exif:
    """The fields of an EXIF block, or of a TIFF file that PIL cannot open."""
    exif = Image.Exif()
    if data:
        exif.load(data)
    return exif


def read_exif(load: Callable[[], Image.Exif]) -> ExifFound:
    """Reads what `load` returns; fields that are damaged are left out."""
    orientation, damaged, is_adobe_rgb = 1, False, False
    fields: dict[int, Any] = {}
    try:
        found = load()
        orientation = found.get(_Base.Orientation, 1)
        fields = _fields(found)
        is_adobe_rgb = found.get_ifd(ExifTags.IFD.Interop).get(1) == "R03"
    except Exception:  # damaged fields fail in as many ways as damaged pixels
        damaged, fields = True, {}
    kept = Image.Exif()
    for tag, value in fields.items():
        if isinstance(value, dict):
            writable = {t: v for t, v in value.items() if _can_be_written(tag, {t: v})}
            damaged = damaged or len(writable) < len(value)
            if writable:
                kept[tag] = writable
        elif _can_be_written(tag, value):
            kept[tag] = value
        else:
            damaged = True
    data = kept.tobytes() if len(kept) else None
    return ExifFound(orientation, data, is_adobe_rgb, damaged)


def add_to_tiff(exif: bytes, directory: TiffImagePlugin.ImageFileDirectory_v2) -> None:
    """Puts the fields that `read_exif` kept into the directory of a TIFF file."""
    for tag, value in _fields(load_exif(exif)).items():
        directory[tag] = value


def add_resolution(exif: bytes | None, resolution: tuple[float, float] | None) -> bytes | None:
    """EXIF with a resolution in pixels per inch, unless it has one already."""
    if resolution is None:
        return exif
    fields = Image.Exif()
    for tag, value in _fields(load_exif(exif or b"")).items():
        fields[tag] = value
    if _Base.XResolution not in fields:
        fields[_Base.XResolution], fields[_Base.YResolution] = resolution
        fields[_Base.ResolutionUnit] = 2  # inches
    return fields.tobytes()


def resolution_of(image: Image.Image) -> tuple[float, float] | None:
    """Pixels per inch as the file states them outside of EXIF."""
    if "jfif" in image.info and image.info.get("jfif_unit") == 0:  # an aspect ratio only
        return None
    try:
        across, down = (float(value) for value in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 0 < across < 1e5 and 0 < down < 1e5 else None


def xmp_of(info: Mapping[Any, Any]) -> bytes | None:
    """The XMP among what PIL found in a file."""
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp")
    return xmp.encode() if isinstance(xmp, str) else xmp or None


def upright_xmp(xmp: bytes | None) -> bytes | None:
    """XMP that says that the picture is stored upright."""
    if xmp is not None:
        for pattern in _XMP_TURNS:
            xmp = pattern.sub(rb"\g<1>1\g<2>", xmp)
    return xmp


def describes_others(xmp: bytes | None) -> bool:
    """Whether XMP describes a gain map or further pictures in its file."""
    return xmp is not None and _XMP_OTHERS.search(xmp) is not None


def iptc_of(image: Image.Image) -> bytes | None:
    """A JPEG's IPTC."""
    resources = image.info.get("photoshop")
    found = resources.get(_PHOTOSHOP_IPTC) if isinstance(resources, dict) else None
    return found if isinstance(found, bytes) and found else None


def iptc_segment(iptc: bytes) -> bytes | None:
    """IPTC as a JPEG segment in Photoshop's form; None if it is too long for one."""
    content = b"Photoshop 3.0\x008BIM" + _PHOTOSHOP_IPTC.to_bytes(2, "big") + b"\0\0"
    content += len(iptc).to_bytes(4, "big") + iptc + b"\0" * (len(iptc) % 2)
    if len(content) > 65_533:
        return None
    return b"\xff\xed" + (len(content) + 2).to_bytes(2, "big") + content


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
    """The companions of a picture whose rows become columns."""
    jpeg, resolution = companions.jpeg, companions.resolution
    if jpeg is not None:
        turned = (tuple(table[8 * (i % 8) + i // 8] for i in range(64)) for table in jpeg.tables)
        jpeg = JpegTables(tuple(turned), 0 if jpeg.subsampling == 1 else jpeg.subsampling)
    if resolution is not None:
        resolution = resolution[::-1]
    return companions._replace(jpeg=jpeg, resolution=resolution)


def _fields(exif: Image.Exif) -> dict[int, Any]:
    """The fields to keep: values by tag, and dictionaries for nested directories."""
    fields: dict[int, Any] = {tag: _stored(exif[tag]) for tag in _KEPT if tag in exif}
    for tag in _KEPT_IFDS:
        nested = {t: _stored(v) for t, v in exif.get_ifd(tag).items() if t not in _SIZE}
        if ExifTags.IFD.Interop in nested:  # a position in the file it came from
            del nested[ExifTags.IFD.Interop]
            if interop := exif.get_ifd(ExifTags.IFD.Interop):
                nested[ExifTags.IFD.Interop] = dict(interop)
        if nested:
            fields[tag] = nested
    return fields


def _stored(value: Any) -> Any:
    """The bytes of text: PIL reads it as Latin-1, whatever it is, but writes only ASCII."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("latin-1", "replace")
    return value


def _can_be_written(tag: int, value: Any) -> bool:
    """Whether PIL can store a field: some that it reads, such as a negative altitude, it cannot."""
    exif = Image.Exif()
    exif[tag] = value
    try:
        exif.tobytes()
    except Exception:  # of any kind: its writer trusts the types that it is given
        return False
    return True
