"""EXIF: which way up a picture is, and fields about the photograph, from one file to another."""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

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
    ExifTags.Base.Rating,
    ExifTags.Base.RatingPercent,
    ExifTags.Base.XPTitle,
    ExifTags.Base.XPComment,
    ExifTags.Base.XPAuthor,
    ExifTags.Base.XPKeywords,
    ExifTags.Base.XPSubject,
)
_KEPT_IFDS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_SIZE = (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)  # it may have been turned

_LOGGER = logging.getLogger(__name__)


class ExifFound(NamedTuple):
    """What EXIF says.

    Attributes:
        orientation: which way up the picture is stored, 1 if that is not told.
        kept: the fields to keep, as `PIL.Image.Exif.tobytes`, or None.
        is_adobe_rgb: whether a camera says that its colours are Adobe RGB's (DCF 2.0).
    """

    orientation: int
    kept: bytes | None
    is_adobe_rgb: bool


def load_exif(data: bytes) -> Image.Exif:
    """The fields of a block of EXIF, or of a TIFF file that PIL cannot open."""
    exif = Image.Exif()
    if data:
        exif.load(data)
    return exif


def read_exif(load: Callable[[], Image.Exif], label: str) -> ExifFound:
    """What `load` finds.

    Fields that are damaged are left out with a warning that names the file by `label`.
    """
    orientation, lost, is_adobe_rgb = 1, False, False
    kept = Image.Exif()
    try:
        found = load()
        orientation = found.get(ExifTags.Base.Orientation, 1)
        fields = _fields(found)
        is_adobe_rgb = found.get_ifd(ExifTags.IFD.Interop).get(1) == "R03"
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
    return ExifFound(orientation, kept.tobytes() if len(kept) else None, is_adobe_rgb)


def add_to_tiff(exif: bytes, directory: TiffImagePlugin.ImageFileDirectory_v2) -> None:
    """Puts fields, as `read_exif` gives them, into the directory of a TIFF file."""
    found = Image.Exif()
    found.load(exif)
    for tag, value in _fields(found).items():
        directory[tag] = value


def add_resolution(exif: bytes | None, resolution: tuple[float, float] | None) -> bytes | None:
    """Fields with a resolution, in pixels an inch, unless they have one already."""
    if resolution is None:
        return exif
    fields = Image.Exif()
    for tag, value in _fields(load_exif(exif or b"")).items():
        fields[tag] = value
    if ExifTags.Base.XResolution not in fields:
        fields[ExifTags.Base.XResolution] = resolution[0]
        fields[ExifTags.Base.YResolution] = resolution[1]
        fields[ExifTags.Base.ResolutionUnit] = 2  # inches
    return fields.tobytes()


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
