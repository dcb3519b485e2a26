"""What a file is, by its first bytes: kinds that are not read, by their names."""

import struct

# Kinds of files, with what to do, by what they begin with.
_RAW = "a camera's raw file: develop it first, to TIFF of 16 bits or to JPEG"
_VIDEO = "a video: save one picture of it"
_HDR = "an HDR picture, brighter than white: save it as SDR, of 16 bits"
_BEGINNINGS = (
    (b"FUJIFILMCCD-RAW", _RAW),
    (b"IIRO", _RAW),
    (b"IIRS", _RAW),
    (b"MMOR", _RAW),
    (b"IIU\0", _RAW),
    (b"FOVb", _RAW),
    (b"\0MRM", _RAW),
    (b"8BPS", "a Photoshop document: export it as PNG or TIFF"),
    (b"%PDF", "a PDF: export the picture as PNG"),
    (b"<svg", "an SVG drawing: export it as PNG"),
    (b"<?xml", "an XML file, such as an SVG drawing: export it as PNG"),
    (b"<!doctype html", "a web page, not the picture on it: save the picture itself"),
    (b"<html", "a web page, not the picture on it: save the picture itself"),
    (b"\x76\x2f\x31\x01", f"OpenEXR, {_HDR}"),
    (b"#?RADIANCE", f"Radiance HDR, {_HDR}"),
    (b"#?RGBE", f"Radiance HDR, {_HDR}"),
    (b"II\xbc\x01", "JPEG XR: save it as PNG"),
    (b"\0\0\1\0", "an icon: save it as PNG"),
    (b"\x1aE\xdf\xa3", _VIDEO),
    (b"PK\3\4", "an archive: unpack it"),
    (b"gimp xcf", "a GIMP document: export it as PNG or TIFF"),
)
_RAW_ENDINGS = (
    *("3fr", "arw", "cr2", "cr3", "crw", "dcr", "dng", "erf", "fff", "iiq", "kdc", "mef", "mos"),
    *("mrw", "nef", "nrw", "orf", "pef", "raf", "raw", "rw2", "rwl", "sr2", "srf", "srw", "x3f"),
)
_UNREAD = {
    "exr": f"OpenEXR, {_HDR}",
    "hdr": f"Radiance HDR, {_HDR}",
    "jxr": "JPEG XR: save it as PNG",
    "mov": _VIDEO,
    "mp4": _VIDEO,
    "pdf": "a PDF: export the picture as PNG",
    "psd": "a Photoshop document: export it as PNG or TIFF",
    "svg": "an SVG drawing: export it as PNG",
    "xcf": "a GIMP document: export it as PNG or TIFF",
}
UNREAD_ENDINGS = {
    f".{ending}": name for ending, name in {**dict.fromkeys(_RAW_ENDINGS, _RAW), **_UNREAD}.items()
}

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
# Frames of JPEG by their markers; C0 to C2 are the usual ones, C9 and CA of arithmetic coding.
_FRAMES = {
    0xC3: "lossless",
    0xC5: "hierarchical",
    0xC6: "hierarchical",
    0xC7: "lossless hierarchical",
    0xCB: "lossless",
    0xCD: "hierarchical",
    0xCE: "hierarchical",
    0xCF: "lossless hierarchical",
}
_NO_CONTENT = (0x01, *range(0xD0, 0xD9))


def brands_of(data: bytes) -> tuple[bytes, ...]:
    """What a file of boxes, as HEIC and videos are, says that it is; empty for others."""
    if data[4:8] != b"ftyp":
        return ()
    end = min(int.from_bytes(data[:4], "big"), 256, len(data))
    return (data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4)))


def is_heif(data: bytes) -> bool:
    """Whether a file is HEIC, and not AVIF, which has its boxes."""
    brands = brands_of(data)
    if b"avif" in brands or b"avis" in brands:
        return False
    return any(brand in _HEIF_BRANDS for brand in brands)


def unread_kind(data: bytes) -> str | None:
    """The name of a kind that is not read, and what to do; None for all others."""
    start = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    for beginning, name in _BEGINNINGS:
        if data.startswith(beginning) or start.lower().startswith(beginning):
            return name
    if data[:4] == b"II*\0" and data[8:10] == b"CR":
        return _RAW
    brands = brands_of(data)
    if brands and not is_heif(data) and b"avif" not in brands:
        return _RAW if brands[0] == b"crx " else _VIDEO
    return _unread_jpeg(data)


def deep_jpeg(data: bytes) -> int | None:
    """Where a JPEG of 12 bits a channel says so, which PIL does not read; None for all others."""
    marker, at = _frame_of(data)
    deep = marker in (0xC1, 0xC2) and data[at + 4] == 12
    return at + 4 if deep else None


def _unread_jpeg(data: bytes) -> str | None:
    marker, at = _frame_of(data)
    if marker == 0xF7:
        return "JPEG-LS: save it as PNG"
    if marker in _FRAMES:
        return f"{_FRAMES[marker]} JPEG: save it as PNG"
    if marker is not None and data[at + 4] != 8 and deep_jpeg(data) is None:
        return f"JPEG of {data[at + 4]} bits a channel: save it as PNG or TIFF of 16 bits"
    return None


def _frame_of(data: bytes) -> tuple[int | None, int]:
    """The marker of a JPEG's first frame, and where it is; None if there is none."""
    at = 2
    while data[:2] == b"\xff\xd8" and at + 9 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF or marker in _NO_CONTENT:
            at += 1 if marker == 0xFF else 2
        elif marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return marker, at
        else:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return None, at
