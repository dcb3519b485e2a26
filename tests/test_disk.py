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


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_comes_back_and_folders_are_made(tmp_path):
    path = tmp_path / "new" / "folder" / ("n" * 251 + ".png")  # as long as names may be
    for data in (b"data", b"other"):
        write_file(path, data)
        assert read_file(path) == data
    assert names(path.parent) == [path.name]


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(InputError, match="empty: the file is empty"):
        read_file(tmp_path / "empty")
    with pytest.raises(InputError, match=r"gone: cannot be read \(No such file"):
        read_file(tmp_path / "gone")


def test_where_nothing_can_be_written_nothing_is_left(tmp_path):
    (tmp_path / "file").write_text("a file where a folder should be")
    with pytest.raises(InputError, match=r"a\.png: cannot be written \(File exists\)"):
        write_file(tmp_path / "file" / "a.png", b"data")
    with pytest.raises(InputError, match=r"file: cannot be written \(Not a directory\)"):
        check_writable(tmp_path / "file")
    check_writable(tmp_path / "folders" / "yet to come")
    assert names(tmp_path) == ["file"]


def test_an_interrupt_while_writing_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "a.png", b"data")
    assert names(tmp_path) == []


def test_what_is_written_bit_by_bit_appears_when_it_is_whole(tmp_path):
    path, folder = tmp_path / "new" / "clip", tmp_path / "new" / "frames"
    with unfinished_file(path) as file, unfinished_folder(folder) as inside:
        file.write(b"data")
        (inside / "1.png").write_bytes(b"one")
        assert not path.exists()
        assert not folder.exists()
    assert path.read_bytes() == b"data"
    assert names(folder) == ["1.png"]
    with unfinished_folder(folder) as inside:  # beside what is there, and in place of it
        for name in ("1.png", "2.png"):
            (inside / name).write_bytes(b"new")
    assert [(folder / name).read_bytes() for name in ("1.png", "2.png")] == [b"new"] * 2
    assert names(path.parent) == ["clip", "frames"]


@pytest.mark.parametrize("at_once", [False, True])
def test_what_is_not_finished_is_removed(tmp_path, at_once):
    (tmp_path / "whole").touch()

    def interrupted():
        with (
            unfinished_file(tmp_path / "clip") as file,
            unfinished_folder(tmp_path / "f") as inside,
        ):
            file.write(b"half")
            (inside / "1.png").write_bytes(b"one")
            if at_once:  # as a process does that ends without unwinding
                remove_unfinished()
                assert names(tmp_path) == ["whole"]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(tmp_path) == ["whole"]


def test_what_a_killed_process_left_is_removed_but_not_what_is_being_written(tmp_path):
    (tmp_path / ".clip.12345678.unfinished").touch()
    (tmp_path / ".frames.12345678.unfinished").mkdir()
    (tmp_path / ".clip.other.12345678.unfinished").touch()
    with unfinished_file(tmp_path / "clip") as first:
        first.write(b"first")
        with unfinished_file(tmp_path / "clip") as second, unfinished_folder(tmp_path / "frames"):
            second.write(b"second")
    assert (tmp_path / "clip").read_bytes() == b"first"
    assert names(tmp_path) == [".clip.other.12345678.unfinished", "clip", "frames"]
