from pathlib import Path

import pytest

from harmony_jax import InputError
from harmony_jax.disk import (
    check_writable,
    read_file,
    remove_unfinished,
    unfinished_file,
    unfinished_folder,
    write_file,
)


def test_a_file_comes_back_and_folders_are_made(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    write_file(path, b"data")
    assert read_file(path) == b"data"
    write_file(path, b"other")
    assert read_file(path) == b"other"
    assert [found.name for found in path.parent.iterdir()] == ["file"]


def test_only_what_is_being_written_is_removed_by_a_process_that_ends(tmp_path, monkeypatch):
    write_file(tmp_path / "whole", b"data")
    write_bytes = Path.write_bytes

    def ends(path, data):
        write_bytes(path, data[:2])
        remove_unfinished()

    monkeypatch.setattr(Path, "write_bytes", ends)
    with pytest.raises(InputError, match="part: cannot be written"):
        write_file(tmp_path / "part", b"data")
    assert [found.name for found in tmp_path.iterdir()] == ["whole"]


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(InputError, match=r"empty: the file is empty: replace it"):
        read_file(tmp_path / "empty")
    with pytest.raises(InputError, match=r"gone: cannot be read \(No such file or directory\)"):
        read_file(tmp_path / "gone")


def test_where_nothing_can_be_written_nothing_is_left(tmp_path):
    (tmp_path / "file").write_text("a file where a folder should be")
    with pytest.raises(InputError, match=r"a\.png: cannot be written \(File exists\)"):
        write_file(tmp_path / "file" / "a.png", b"data")
    with pytest.raises(InputError, match=r"file: cannot be written \(Not a directory\)"):
        check_writable(tmp_path / "file")
    check_writable(tmp_path / "folders" / "yet to come")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_interrupt_while_writing_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "a.png", b"data")
    assert not list(tmp_path.iterdir())


def test_a_name_as_long_as_names_may_be(tmp_path):
    path = tmp_path / ("n" * 251 + ".png")
    write_file(path, b"data")
    assert path.read_bytes() == b"data"


def test_what_is_written_bit_by_bit_appears_when_it_is_whole(tmp_path):
    path, folder = tmp_path / "new" / "clip", tmp_path / "new" / "frames"
    with unfinished_file(path) as file, unfinished_folder(folder) as inside:
        file.write(b"data")
        (inside / "1.png").write_bytes(b"one")
        assert not path.exists()
        assert not folder.exists()
    assert path.read_bytes() == b"data"
    assert [(found.name, found.read_bytes()) for found in folder.iterdir()] == [("1.png", b"one")]
    with unfinished_folder(folder) as inside:  # beside what is there, and in place of it
        for name in ("1.png", "2.png"):
            (inside / name).write_bytes(b"new")
    assert {found.name: found.read_bytes() for found in folder.iterdir()} == {
        "1.png": b"new",
        "2.png": b"new",
    }
    assert sorted(found.name for found in path.parent.iterdir()) == ["clip", "frames"]


@pytest.mark.parametrize("ends", [False, True])
def test_of_what_is_not_finished_nothing_is_left(tmp_path, ends):
    def interrupted():
        with (
            unfinished_file(tmp_path / "clip") as file,
            unfinished_folder(tmp_path / "f") as inside,
        ):
            file.write(b"half")
            (inside / "1.png").write_bytes(b"one")
            if ends:  # as a process does that stops at once
                remove_unfinished()
                assert not list(tmp_path.iterdir())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())
