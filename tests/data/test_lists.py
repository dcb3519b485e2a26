import codecs

import pytest

from harmony_jax import InputError
from harmony_jax.data.lists import read_lines

TEXT = "a.jpg\r\nphoto-é_1_1.jpg\n"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
    ],
)
def test_editors_of_windows_are_understood(tmp_path, data):
    (tmp_path / "list.txt").write_bytes(data)
    assert read_lines(tmp_path / "list.txt") == ["a.jpg", "photo-é_1_1.jpg"]


@pytest.mark.parametrize(
    ("data", "offset"),
    [
        (TEXT.encode("latin-1"), 13),
        (codecs.BOM_UTF8 + TEXT.encode("latin-1"), 16),
        ("a.jpg".encode("utf-16-le"), 1),  # without its mark
        (codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le")[:9], 10),
    ],
)
def test_other_encodings_are_refused_at_their_first_byte(tmp_path, data, offset):
    (tmp_path / "list.txt").write_bytes(data)
    with pytest.raises(InputError, match=rf"list\.txt: no UTF-8 text at byte {offset}: save"):
        read_lines(tmp_path / "list.txt")
