"""Which kinds of files are read and written, and what the others are called."""

import logging
import struct
from pathlib import Path

from harmony_jax.errors import InputError

# Kinds by PIL's names, with their endings: those that are written too, and those that are only
# read.
_WRITTEN = {
    "JPEG": ".jpg .jpeg .jpe .jfif",
    "PNG": ".png",
    "WEBP": ".webp",
    "TIFF": ".tif .tiff",
    "BMP": ".bmp",
}
_READ = {
    "JPEG": ".mpo",
    "BMP": ".dib",
    "GIF": ".gif",
    "HEIF": ".heic .heif .hif",
    "AVIF": ".avif",
    "JPEG2000": ".jp2 .jpx .jpf .j2k .j2c",
    "JPEGXL": ".jxl",
}
WRITTEN_FORMATS = {end: kind for kind, ends in _WRITTEN.items() for end in ends.split()}
FORMATS = WRITTEN_FORMATS | {end: kind for kind, ends in _READ.items() for end in ends.split()}
OUTPUT_FORMATS = tuple(ends.split()[0].removeprefix(".") for ends in _WRITTEN.values())
ENDINGS = tuple(FORMATS)
WRITTEN_ENDINGS = tuple(WRITTEN_FORMATS)

# Kinds that are refused: what they are and what to do, endings, and first bytes.
_RAW = "a camera's raw file: develop it first, to TIFF of 16 bits or to JPEG"
_VIDEO = "a video: save one picture of it"
_HDR = "an HDR picture, brighter than white: save it as SDR, of 16 bits"
_WEB_PAGE = "a web page, not the picture on it: save the picture itself"
_REFUSED: tuple[tuple[str, str, tuple[bytes, ...]], ...] = (
    (
        _RAW,
        ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef "
        ".raf .raw .rw2 .rwl .sr2 .srf .srw .x3f",
        (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM"),
    ),
    (_VIDEO, ".mov .mp4", (b"\x1aE\xdf\xa3",)),
    (f"OpenEXR, {_HDR}", ".exr", (b"\x76\x2f\x31\x01",)),
    (f"Radiance HDR, {_HDR}", ".hdr", (b"#?RADIANCE", b"#?RGBE")),
    ("JPEG XR: save it as PNG", ".jxr", (b"II\xbc\x01",)),
    ("a Photoshop document: export it as PNG or TIFF", ".psd", (b"8BPS",)),
    ("a GIMP document: export it as PNG or TIFF", ".xcf", (b"gimp xcf",)),
    ("a PDF: export the picture as PNG", ".pdf", (b"%PDF",)),
    ("an SVG drawing: export it as PNG", ".svg", (b"<svg",)),
    ("an XML file, such as an SVG drawing: export it as PNG", "", (b"<?xml",)),
    (_WEB_PAGE, "", (b"<!doctype html", b"<html")),
    ("an icon: save it as PNG", "", (b"\0\0\1\0",)),
    ("an archive: unpack it", "", (b"PK\3\4",)),
)
REFUSED_ENDINGS = {end: name for name, ends, _ in _REFUSED for end in ends.split()}

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
# JPEG's frame markers; C0 to C2 are the usual ones, C9 and CA use arithmetic coding.
_USUAL_FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)
_ODD_FRAMES = {0xC3: "lossless JPEG", 0xCB: "lossless JPEG", 0xF7: "JPEG-LS"}
_NO_FRAMES = (0xC4, 0xC8, 0xCC)
_NO_CONTENT = (0x01, *range(0xD0, 0xD9))

_LOGGER = logging.getLogger(__name__)


def check_ending(ending: str, label: str) -> None:
    """Raises InputError about `label` unless files with this ending are read."""
    ending = ending.lower()
    if ending in REFUSED_ENDINGS:
        raise InputError(f"{label}: {REFUSED_ENDINGS[ending]}")
    if ending not in FORMATS:
        raise InputError(f"{label}: unknown ending {ending!r}: use {', '.join(ENDINGS)}")


def check_written_ending(ending: str, label: str) -> None:
    """Raises InputError about `label` unless files with this ending are written."""
    if ending.lower() in WRITTEN_FORMATS:
        return
    kind = "is read but not written" if ending.lower() in FORMATS else "is unknown"
    raise InputError(f"{label}: the ending {ending!r} {kind}: use {', '.join(WRITTEN_ENDINGS)}")


def output_name(photo: Path, ending: str | None = None) -> str:
    """The file name of a photo's result, with an ending that is asked for or the photo's own.

    If the photo's format is not written, the result becomes PNG, and a warning says so.
    """
    own = photo.suffix.lower()
    if ending is None and own in FORMATS and own not in WRITTEN_FORMATS:
        ending = ".jpg" if FORMATS[own] == "JPEG" else ".png"
        _LOGGER.warning("%s: this format is not written: the output ends in %s", photo, ending)
    return photo.with_suffix(ending).name if ending else photo.name


def refusal(kind: str, reason: str, save_as: str = "PNG") -> InputError:
    """The error for a variant of a format that is not known to be read right."""
    return InputError(f"this kind of {kind} is not taken ({reason}): save it as {save_as}")


def is_tiff(data: bytes) -> bool:
    """Whether a file begins as TIFF or BigTIFF does."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def is_heif(data: bytes) -> bool:
    """Whether a file is HEIC; AVIF, which has the same boxes, is not."""
    brands = _brands(data)
    if b"avif" in brands or b"avis" in brands:
        return False
    return any(brand in _HEIF_BRANDS for brand in brands)


def refused_kind(data: bytes) -> str | None:
    """What a file is whose kind is not read, and what to do; None for all others."""
    start = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for name, _, beginnings in _REFUSED:
        if data.startswith(beginnings) or start.startswith(beginnings):
            return name
    if data[:4] == b"II*\0" and data[8:10] == b"CR":
        return _RAW
    brands = _brands(data)
    if brands and not is_heif(data) and b"avif" not in brands:
        return _RAW if brands[0] == b"crx " else _VIDEO
    marker, at = _jpeg_frame(data)
    if marker is None or deep_jpeg(data) is not None:
        return None
    if marker not in _USUAL_FRAMES:
        return f"{_ODD_FRAMES.get(marker, 'hierarchical JPEG')}: save it as PNG"
    bits = data[at + 4]
    return None if bits == 8 else f"JPEG of {bits} bits: save it as PNG or TIFF of 16 bits"


def deep_jpeg(data: bytes) -> int | None:
    """Where a JPEG of 12 bits states its depth; None for all others. PIL does not read it."""
    marker, at = _jpeg_frame(data)
    return at + 4 if marker in (0xC1, 0xC2) and data[at + 4] == 12 else None


def _brands(data: bytes) -> tuple[bytes, ...]:
    """The types that a file of boxes (HEIC, AVIF, videos) claims; empty for others."""
    if data[4:8] != b"ftyp":
        return ()
    end = min(int.from_bytes(data[:4], "big"), 256, len(data))
    return (data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4)))


def _jpeg_frame(data: bytes) -> tuple[int | None, int]:
    """The marker of a JPEG's first frame and its position; None if there is none."""
    at = 2
    while data[:2] == b"\xff\xd8" and at + 9 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF or marker in _NO_CONTENT:
            at += 1 if marker == 0xFF else 2
        elif marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES):
            return marker, at
        else:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return None, at
