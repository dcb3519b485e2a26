import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from harmony_jax import InputError
from harmony_jax.data.iharmony4 import IHarmony4Source
from harmony_jax.data.prepared import PreparedSource
from harmony_jax.data.preparing import prepare as prepare_module
from harmony_jax.data.preparing.records import make_record
from scripts.prepare_iharmony4 import main
from tests.made_data import SUBSETS as MADE
from tests.made_data import write_iharmony4

ROOT = Path(__file__).parents[3]
TRAIN = "iharmony4-train.array_record-{:05d}-of-00004"


@pytest.fixture
def root(tmp_path):
    """16 training and 8 test samples; a file of the set takes 4."""
    write_iharmony4(tmp_path / "downloaded", train=16, test=8)
    return tmp_path / "downloaded"


@pytest.fixture
def output(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare_module, "_RECORDS_PER_SHARD", 4)
    return tmp_path / "set"


def run(root, output, *arguments):
    main([f"--input={root}", f"--output={output}", "--subsets=" + ",".join(MADE), *arguments])


def failure(root, output, *arguments) -> str:
    """The line that a failed run prints."""
    with pytest.raises(SystemExit) as exit_:
        run(root, output, "--workers=1", *arguments)
    line = exit_.value.code  # a text: printed to stderr, status 1
    assert line.startswith("error: ")
    assert "\n" not in line
    return line


def names(output, split="train"):
    source = PreparedSource(str(output), split, MADE)
    return [source.name(index) for index in range(len(source)) if source[index]]


def count_conversions(monkeypatch, limit=None) -> list[str]:
    """The names of the samples that are read from now on, until Ctrl-C after so many."""
    converted = []

    def counted(record):
        if len(converted) == limit:
            raise KeyboardInterrupt
        converted.append(record.name)
        return make_record(record)

    monkeypatch.setattr(prepare_module, "make_record", counted)
    return converted


def state(folder):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*.*")}


def test_worker_processes_write_the_lists_in_order_and_leave_the_originals(root, output, capsys):
    before = state(root)
    run(root, output, "--workers=2")
    assert state(root) == before
    for split in ("train", "test"):
        folder = IHarmony4Source(str(root), split, MADE)
        assert names(output, split) == [folder.name(index) for index in range(len(folder))]
    assert not (output / "unfinished").exists()
    printed = capsys.readouterr().out
    for line in (
        "train +HCOCO +8 +8 +38,545",
        "train +All +16 +16 +65,742",
        "test +All +8 +8 +7,404",
    ):
        assert re.search(f"{line}\n", printed)
    assert "This is not all of iHarmony4, which has 65,742 for train and 7,404 for test." in printed


def test_after_an_interruption_only_what_is_missing_is_done(root, output, monkeypatch):
    count_conversions(monkeypatch, limit=10)
    with pytest.raises(SystemExit, match=r"^130$"):
        run(root, output, "--workers=1")
    assert [(output / TRAIN.format(index)).exists() for index in range(3)] == [True, True, False]
    with pytest.raises(InputError, match="set is incomplete"):
        PreparedSource(str(output), "train", MADE)
    (output / TRAIN.format(1)).write_bytes(b"damaged meanwhile")
    converted = count_conversions(monkeypatch)
    run(root, output, "--workers=1")
    everything = names(output) + names(output, "test")
    assert converted == everything[4:]
    converted.clear()
    run(root, output, "--workers=1")
    assert not converted


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals")
def test_killed_outright_it_leaves_no_process_and_continues(tmp_path, root):
    arguments = [f"--input={root}", f"--output={tmp_path / 'set'}", "--subsets=HCOCO,HFlickr"]
    blocker = root / "HCOCO" / "real_images" / "train000.jpg"
    data = blocker.read_bytes()
    blocker.unlink()
    os.mkfifo(blocker)  # a worker that reads it waits, so that the kill finds it at work
    script = str(ROOT / "scripts" / "prepare_iharmony4.py")
    process = subprocess.Popen(
        [sys.executable, script, *arguments, "--workers=2"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    opened = []

    def is_read() -> bool:
        with contextlib.suppress(OSError):  # nobody reads it yet
            opened.append(os.open(blocker, os.O_WRONLY | os.O_NONBLOCK))
        return bool(opened)

    wait_until(is_read)
    process.kill()
    process.wait()
    wait_until(lambda: not is_group_alive(process.pid))
    os.close(opened[0])
    blocker.unlink()
    blocker.write_bytes(data)
    assert (tmp_path / "set" / "unfinished" / "plan.json").exists()
    main([*arguments, "--workers=1"])
    assert len(names(tmp_path / "set")) == 16


def wait_until(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def is_group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def damage(root) -> None:
    """One of each kind; six composites in all, as two share a photo or a mask."""
    (root / "HCOCO" / "masks" / "train000_1.png").unlink()
    real = root / "HFlickr" / "real_images" / "test001.jpg"
    real.write_bytes(real.read_bytes()[:-30])
    masks = root / "HFlickr" / "masks"
    cv2.imwrite(str(masks / "train001_1.png"), np.zeros((48, 40), np.uint8))


def test_unreadable_samples_are_named_and_the_set_waits_for_their_files(
    root, output, monkeypatch, capsys
):
    whole = root.with_name("whole")
    shutil.copytree(root, whole)
    damage(root)
    line = failure(root, output)
    assert "unreadable.txt: 6 of 24 listed samples" in line
    assert "--skip-unreadable" in line
    listed = (output / "unreadable.txt").read_text().splitlines()
    assert len(listed) == 6
    for expected in (
        r"train HCOCO/train000_1_0\.jpg: .*train000_1\.png: cannot be read",
        r"train HFlickr/train001_1_1\.jpg: .*train001_1\.png: the mask has no foreground",
        r"test HFlickr/test001_1_0\.jpg: .*test001\.jpg: damaged JPEG",
    ):
        assert any(re.match(expected, found) for found in listed), expected
    printed = capsys.readouterr().out
    assert all(f"unreadable: {found}" in printed for found in listed)
    assert re.search(r"train +HCOCO +6 +8 +38,545\n", printed)
    with pytest.raises(InputError, match="incomplete"):
        PreparedSource(str(output), "train", MADE)
    assert "other lists or subsets" in failure(root, output, "--subsets=HFlickr")
    with monkeypatch.context() as patch:
        patch.setattr(prepare_module, "VERSION", "3.0.0")
        assert "of another version" in failure(root, output)

    shutil.copytree(whole, root, dirs_exist_ok=True)
    converted = count_conversions(monkeypatch)
    run(root, output, "--workers=1")
    assert len(converted) == 12  # three files of four
    assert [len(names(output, split)) for split in ("train", "test")] == [16, 8]
    assert not (output / "unreadable.txt").exists()


def test_unreadable_samples_can_be_left_out(root, output, capsys):
    folder = IHarmony4Source(str(root), "train", MADE)
    damage(root)
    run(root, output, "--workers=1", "--skip-unreadable")
    kept = [index for index in range(16) if index not in (0, 1, 10, 11)]
    assert names(output) == [folder.name(index) for index in kept]
    assert len(names(output, "test")) == 6
    assert len((output / "unreadable.txt").read_text().splitlines()) == 6
    assert "without 6 unreadable samples" in failure(root, output)
    capsys.readouterr()
    run(root, output, "--workers=1", "--skip-unreadable")
    assert capsys.readouterr().out.count("unreadable: ") == 6
    for subset in MADE:
        shutil.rmtree(root / subset / "masks")
    new = output.with_name("another")
    assert "no sample of the train lists" in failure(root, new, "--skip-unreadable")


def test_other_outputs_are_left_alone(root, output):
    for wrong in (root, root / "inside"):
        assert f"is inside {root}" in failure(root, wrong)
    output.mkdir()
    (output / "notes.txt").write_text("mine")
    for wrong in (output, output / "notes.txt"):
        assert "no folder for a prepared set" in failure(root, wrong)
    (output / "notes.txt").unlink()
    run(root, output, "--workers=1")
    before = state(output)
    assert "other lists or subsets" in failure(root, output, "--subsets=HCOCO")
    (root / "HCOCO" / "HCOCO_test.txt").write_text("test000_1_0.jpg\n")
    assert "other lists or subsets" in failure(root, output)
    info = output / "dataset_info.json"
    info.write_text(info.read_text().replace('"1.0.0"', '"0.9.0"'))
    assert "version 0.9.0" in failure(root, output)
    assert state(output).keys() == before.keys()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers=0"], "workers 0"),
        (["--subsets=HCOCO,HCOCO"], "subsets 'HCOCO,HCOCO'"),
        (["--subsets=HKOKO"], "subset 'HKOKO'"),
        (["--subsets=HAdobe5k"], "HAdobe5k_train.txt: list file not found"),
        (["--input=nowhere"], "nowhere: no such folder"),
        (["--verbose"], "--verbose"),
    ],
)
def test_invalid_arguments(root, output, arguments, message):
    assert message in failure(root, output, *arguments)
    assert not output.exists()


def test_a_disk_without_room(root, output, monkeypatch):
    class Full:
        """Fails as the writer does on a full disk."""

        def __init__(self, path, _):
            Path(path).touch()

        def write(self, _):
            raise RuntimeError("write() failed: No space left on device; writing x; at byte 7")

    monkeypatch.setattr("array_record.python.array_record_module.ArrayRecordWriter", Full)
    line = failure(root, output)
    assert f"{TRAIN.format(0)}: cannot be written (write() failed: No space left on device)" in line
    assert [path.name for path in output.rglob("*") if path.is_file()] == ["plan.json"]
