import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from harmony_jax import InputError
from harmony_jax.evaluation.published import TABLES
from harmony_jax.paper.runs import Relay, check_backbone, command, row_run

W18S = "hrnet_w18_small_model_v2.pth"

# Tells that it is ready, waits to be stopped, and a little longer for more; writes what came.
WAITING = """
import pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
seen = []
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: seen.append(number))
(folder / "ready").touch()
while not seen:
    time.sleep(0.01)
time.sleep(0.3)
(folder / "seen").write_text(" ".join(str(int(number)) for number in seen))
sys.exit(1)
"""


def run_of(number: int, key: str, folder: Path, **options):
    table = TABLES[number]
    return row_run(table, table.find(key), folder, **options)


def test_a_row_is_a_training_of_main_in_its_own_workdir(tmp_path):
    run = run_of(4, "idih_1000", tmp_path)
    words = command(run, {"train.epochs": 1, "data.subsets": ("HCOCO",)})
    assert words[0] == sys.executable
    assert Path(words[1]).name == "main.py"
    assert words[2].endswith("configs/table.py:4,idih_1000")
    assert words[3:] == [
        f"--workdir={tmp_path / 'idih_1000'}",
        "--config.train.epochs=1",
        "--config.data.subsets=('HCOCO',)",
    ]


def test_imagenet_weights_are_found_by_their_published_names(tmp_path):
    (tmp_path / W18S).touch()
    (tmp_path / "hrnetv2_w18_imagenet_pretrained.safetensors").touch()
    found = {
        key: run_of(5, key, tmp_path, imagenet=tmp_path).backbone
        for key in ("hrnet18s", "hrnet18", "hrnet32")
    }
    assert found == {
        "hrnet18s": str(tmp_path / W18S),
        "hrnet18": str(tmp_path / "hrnetv2_w18_imagenet_pretrained.safetensors"),
        "hrnet32": "",
    }
    one = run_of(5, "hrnet18s", tmp_path, imagenet=tmp_path, backbone="mine.pth")
    assert command(one, {})[-1] == "--config.init.backbone=mine.pth"


def test_a_row_does_not_begin_without_its_imagenet_weights(tmp_path):
    with pytest.raises(InputError, match=rf"init\.backbone is not set, and hrnet18s .*{W18S}"):
        check_backbone(run_of(5, "hrnet18s", tmp_path))
    with pytest.raises(InputError, match=rf"init\.backbone /no/file: no such file: .*{W18S}"):
        check_backbone(run_of(5, "hrnet18s", tmp_path, backbone="/no/file"))
    check_backbone(run_of(4, "dih_1", tmp_path))
    (tmp_path / "hrnet18s" / "checkpoints" / "10").mkdir(parents=True)
    check_backbone(run_of(5, "hrnet18s", tmp_path))  # it continues


@pytest.mark.parametrize(
    ("key", "from_scratch", "folder"),
    [
        ("both_random", False, "both_random"),  # the paper has it so
        ("both_random", True, "both_random"),
        ("both_imagenet", True, "both_imagenet_from_scratch"),
    ],
)
def test_rows_from_random_weights_get_none(key, from_scratch, folder, tmp_path):
    run = run_of(6, key, tmp_path, backbone="mine.pth", from_scratch=from_scratch)
    check_backbone(run)
    assert run.workdir == tmp_path / folder
    assert not any("init.backbone" in word for word in command(run, {}))


def test_the_status_is_the_commands():
    with Relay() as relay:
        assert relay.run([sys.executable, "-c", "import sys; sys.exit(3)"]) == 3
        assert relay.run([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]) == 137
        assert relay.run([sys.executable, "-c", ""]) == 0
    assert relay.signal is None


@pytest.mark.parametrize(
    ("sent", "reaching"),
    [
        (signal.SIGINT, signal.SIGINT),
        (signal.SIGTERM, signal.SIGTERM),
        (signal.SIGHUP, signal.SIGTERM),
    ],
)
def test_a_signal_reaches_the_command_once_and_no_other_is_begun(sent, reaching, tmp_path):
    def interrupt() -> None:
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), sent)

    before = signal.getsignal(sent)
    sender = threading.Thread(target=interrupt)
    sender.start()
    child = [sys.executable, "-c", WAITING, str(tmp_path)]
    with Relay() as relay:
        ended = relay.run(child)
        second = relay.run([sys.executable, "-c", f"open({str(tmp_path / 'second')!r}, 'w')"])
    sender.join()
    assert ended == second == 128 + reaching
    assert (tmp_path / "seen").read_text() == str(int(reaching))
    assert not (tmp_path / "second").exists()
    assert signal.getsignal(sent) == before
