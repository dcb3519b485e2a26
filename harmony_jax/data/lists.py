"""Reads list files as people have them: in UTF-8 or UTF-16, entries with either slash."""

import codecs
from pathlib import Path

from harmony_jax.disk import read_file
from harmony_jax.errors import InputError

_UTF_16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


def read_lines(path: Path) -> list[str]:
    """The lines of a list in UTF-8, with or without a mark, or in UTF-16 with one."""
    data = read_file(path)
    encoding = _UTF_16.get(data[:2], "utf-8")
    try:
        text = data.decode(encoding)
        offset = len(text.partition("\0")[0].encode(encoding)) if "\0" in text else None
    except UnicodeDecodeError as error:
        offset = error.start
    if offset is not None:
        raise InputError(f"{path}: no UTF-8 text at byte {offset}: save the list as UTF-8")
    return text.removeprefix("\ufeff").splitlines()


def with_slashes(entry: str) -> str:
    """An entry of a list with the backslashes of Windows turned."""
    return entry.replace("\\", "/")
