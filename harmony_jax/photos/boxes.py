"""Boxes of HEIC, AVIF and JPEG 2000: what their decoders do not report or do not check."""

import struct
from collections.abc import Iterator

from harmony_jax.photos.color import profile_of_code_points
from harmony_jax.photos.kinds import refusal

_CONTAINERS = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"jp2h": 0}  # bytes before the boxes inside
_CODE_STREAM = b"\xff\x4f\xff\x51"  # of JPEG 2000
_SRGB, _GREY, _YCC = 16, 17, 18  # JPEG 2000's enumerated colour spaces
_OPACITY = 1  # among the types of JPEG 2000's channels


def check_heif_items(data: bytes) -> None:
    """Raises ValueError if the name of a HEIC item is not text: pi-heif 1.4 crashes on it."""
    for kind, content in boxes_of(data):
        if kind != b"iinf":
            continue
        for _, item in boxes_of(content, 8 if content[0] else 6):
            start = 10 if item[0] > 2 else 8  # behind its number and its protection
            item[start:].decode()


def look_at_avif(data: bytes) -> tuple[int, bytes | None]:
    """Bits per channel, and the profile of an AVIF file without ICC, which PIL does not report."""
    bits, profiles = 8, []
    for kind, content in boxes_of(data):
        if kind == b"av1C" and len(content) > 2 and content[2] & 0x40:
            bits = max(bits, 12 if content[2] & 0x20 else 10)
        if kind == b"colr" and content[:4] == b"nclx":
            primaries, transfer = struct.unpack_from(">HH", content, 4)
            profiles.append(profile_of_code_points(primaries, transfer))
    return bits, profiles[0] if profiles else None


def look_at_jpeg2000(data: bytes) -> tuple[int, bytes | None]:
    """Bits per channel, and the ICC profile of a JPEG 2000 file.

    Refuses variants whose numbers PIL would take for something else.
    """
    stream, profile, space, opacity, has_palette = data, None, None, False, False
    if not data.startswith(_CODE_STREAM):
        for kind, content in boxes_of(data):
            if kind == b"jp2c":
                stream = content
            elif kind == b"colr" and profile is None and space is None:
                if content[0] == 1:
                    space = int.from_bytes(content[3:7], "big")
                elif content[0] in (2, 3):
                    profile = content[3:]
            elif kind == b"cdef":
                entries = struct.iter_unpack(">HHH", content[2 : 2 + 6 * content[1]])
                opacity = any(meaning == _OPACITY for _, meaning, _ in entries)
            elif kind == b"pclr":
                has_palette = True
    (count,) = struct.unpack_from(">H", stream, 40)
    parts = [tuple(stream[at : at + 3]) for at in range(42, 42 + 3 * count, 3)]
    bits = (parts[0][0] & 0x7F) + 1
    whole = all(part[1:] == (1, 1) for part in parts)
    reason = None
    if len({depth for depth, *_ in parts}) > 1 or parts[0][0] & 0x80 or bits > 16:
        reason = "numbers with signs, of more than 16 bits, or of several sizes"
    elif space not in (None, _SRGB, _GREY, _YCC):
        reason = f"colour space {space}"
    elif profile is not None and profile[16:20] not in (b"RGB ", b"GRAY"):
        reason = "inks"
    elif count in (2, 4) and not opacity:
        reason = f"{count} channels of unknown meaning"
    elif (bits != 8 and (space == _YCC or has_palette)) or (not whole and space != _YCC):
        reason = "colour at another size than brightness, or a palette of many bits"
    if reason is not None:
        raise refusal("JPEG 2000", reason)
    return bits, profile


def boxes_of(data: bytes, start: int = 0) -> Iterator[tuple[bytes, bytes]]:
    """Kinds and contents of the boxes, also of those inside the containers that matter here."""
    at = start
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        header = 8
        if size == 1 and at + 16 <= len(data):
            (size,) = struct.unpack_from(">Q", data, at + 8)
            header = 16
        if size == 0:  # up to the end
            size = len(data) - at
        if size < header:
            return
        content = data[at + header : at + size]
        if kind in _CONTAINERS:
            yield from boxes_of(content, _CONTAINERS[kind])
        else:
            yield kind, content
        at += size
