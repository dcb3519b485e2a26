"""EXIF: which way up a picture is, and fields about the photograph, from one file to another."""

import logging
from typing import Any

from PIL import ExifTags, Image, TiffImagePlugin

# Fields of the photograph. Others describe the file it was in: its size, its strips, a thumbnail of
# the picture before.
_KEPT = (
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.XResolution,
    ExifTags.Base.YResolution,
    ExifTags.Base.ResolutionUnit,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.HostComputer,
    ExifTags.Base.Copyright,
)
_KEPT_IFDS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_SIZE = (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)  # it may have been turned

_LOGGER = logging.getLogger(__name__)


def read_exif(image: Image.Image, label: str) -> tuple[int, bytes | None]:
    """The orientation (1 if there is none), and the fields to keep, as `PIL.Image.Exif.tobytes`.

    Fields that are damaged are left out with a warning that names the file by `label`.
    """
    orientation, lost = 1, False
    kept = Image.Exif()
    try:
        found = image.getexif()
        orientation = found.get(ExifTags.Base.Orientation, 1)
        fields = _fields(found)
    except Exception:  # damaged fields fail in as many ways as damaged pixels
        lost, fields = True, {}
    for tag, value in fields.items():
        if isinstance(value, dict):
            writable = {t: v for t, v in value.items() if _can_be_written({tag: {t: v}})}
            lost = lost or len(writable) < len(value)
            if writable:
                kept[tag] = writable
        elif _can_be_written({tag: value}):
            kept[tag] = value
        else:
            lost = True
    if lost:
        _LOGGER.warning("%s: some of its EXIF is damaged: left out", label)
    return orientation, kept.tobytes() if len(kept) else None


def add_to_tiff(exif: bytes, directory: TiffImagePlugin.ImageFileDirectory_v2) -> None:
    """Puts fields, as `read_exif` gives them, into the directory of a TIFF file."""
    found = Image.Exif()
    found.load(exif)
    for tag, value in _fields(found).items():
        directory[tag] = value


def _fields(exif: Image.Exif) -> dict[int, Any]:
    """What is kept: values by tag, and of nested directories dictionaries of them."""
    fields: dict[int, Any] = {tag: _stored(exif[tag]) for tag in _KEPT if tag in exif}
    for tag in _KEPT_IFDS:
        nested = {t: _stored(v) for t, v in exif.get_ifd(tag).items() if t not in _SIZE}
        if ExifTags.IFD.Interop in nested:  # a place in the file it came from
            del nested[ExifTags.IFD.Interop]
            if interop := exif.get_ifd(ExifTags.IFD.Interop):
                nested[ExifTags.IFD.Interop] = dict(interop)
        if nested:
            fields[tag] = nested
    return fields


def _stored(value: Any) -> Any:
    """PIL reads text as Latin-1, whatever it is, but writes ASCII alone: the bytes themselves."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("latin-1", "replace")
    return value


def _can_be_written(fields: dict[int, Any]) -> bool:
    """Whether PIL can store fields: some that it reads, such as a negative altitude, it cannot."""
    exif = Image.Exif()
    for tag, value in fields.items():
        exif[tag] = value
    try:
        exif.tobytes()
    except Exception:  # of any kind: its writer trusts the types of what it is given
        return False
    return True
