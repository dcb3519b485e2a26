"""The command of a whole table: rows that train, fail, are refused, and are there already."""

import json

import pytest

from scripts import run_table
from scripts.run_table import main
from tests.commands import run

# ml_collections loads config files so.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    """In this process the logger is not the command's to configure."""
    monkeypatch.setattr(run_table, "log_to_terminal", lambda: None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("9", "table 9"),
        ("3 --rows=dih,dih_crop", "row 'dih_crop'"),
        ("3 --config.train.epoch=3", "unknown config field: .*epoch"),
        ("3 --config.train.epochs=many", "many"),
        ("3 stray", "'stray'"),
        ("3 --unknown=1", "'unknown'"),
        ("3", "data.root is empty"),
        ("3 --config.data.root=/nowhere", "data.root /nowhere"),
        ("4 --config.loss.min_area=3", "--config.loss.min_area"),
        ("5 --config.model.name=dih256", "--config.model.name"),
        ("5 --imagenet=/nowhere", "--imagenet=/nowhere"),
    ],
)
def test_mistakes_are_one_line_before_anything_runs(arguments, message, tmp_path, monkeypatch):
    monkeypatch.setattr(run_table, "Relay", None)
    with pytest.raises(SystemExit, match=f"^error: .*{message}") as ended:
        main([*arguments.split(), f"--workdir={tmp_path / 'runs'}"])
    assert "\n" not in ended.value.code
    assert not (tmp_path / "runs").exists()


def test_refused_rows_are_said_and_the_table_is_shown(tmp_path, capsys):
    with pytest.raises(SystemExit, match=r"^error: 2 of 2 rows failed: hrnet18, deeplab_r34$"):
        main(["5", "--rows=hrnet18,deeplab_r34", f"--workdir={tmp_path}"])
    shown = capsys.readouterr()
    refused = shown.err.splitlines()
    assert "hrnetv2_w18_imagenet_pretrained.pth" in refused[0]
    assert "gluon_resnet34_v1b-c6d82d59.pth" in refused[1]
    assert shown.out.startswith("Table 5. ")
    assert json.loads((tmp_path / "table5.json").read_text())["rows"][0]["ours"] is None


def test_a_stopped_row_stops_the_table(tmp_path, mini_root, monkeypatch, capsys):
    started = []

    class Stopped(run_table.Relay):
        def run(self, arguments):
            started.append(arguments[2].rsplit(",")[-1])
            return 143

    monkeypatch.setattr(run_table, "Relay", Stopped)
    subsets = "--config.data.subsets=('HCOCO', 'HFlickr')"
    with pytest.raises(SystemExit) as ended:
        main(["3", f"--workdir={tmp_path}", f"--config.data.root={mini_root}", subsets])
    assert ended.value.code == 143
    assert started == ["dih"]
    assert capsys.readouterr().err == "stopped: the same command continues\n"


def test_a_table_of_trial_runs(mini_root, tmp_path):
    """One row trains, one fails, one is refused; again, the first is left as it is."""
    (tmp_path / "idih").write_text("in the way")
    arguments = [
        f"--workdir={tmp_path}",
        f"--config.data.root={mini_root}",
        "--config.data.subsets=('HCOCO', 'HFlickr')",
        "--config.data.image_size=32",
        "--config.data.num_workers=0",
        "--config.model.depth=4",
        "--config.train.batch_size=4",
        "--config.train.epochs=1",
        "--config.evaluation.every_epochs=0",
    ]
    quick = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    first = run("scripts/run_table.py", "1", *arguments, **quick)
    assert first.returncode == 1
    assert "Traceback" not in first.stderr
    lines = first.stderr.splitlines()
    assert lines[0].startswith("error: init.backbone is not set, and idih_hrnet18s starts from")
    assert any(f"error: workdir {tmp_path / 'idih'}: cannot be written" in line for line in lines)
    assert any("Row 1 of 2, dih: DIH+augs+FN-MSE" in line for line in lines)
    assert any("step 3/3" in line for line in lines)
    assert lines[-1] == "error: 2 of 3 rows failed: idih_hrnet18s, idih"
    found = json.loads((tmp_path / "dih" / "evaluation.json").read_text())["model"]["All"]
    rows = {row["row"]: row for row in json.loads((tmp_path / "table1.json").read_text())["rows"]}
    assert rows["dih"]["ours"]["All MSE"] == found["MSE"]
    assert rows["idih"]["ours"] is None
    assert f"{found['MSE']:.2f}" in first.stdout
    assert "Ours of dih: model.depth 4, data.image_size 32 instead of 256" in first.stdout

    written = (tmp_path / "dih" / "evaluation.json").stat()
    again = run("scripts/run_table.py", "2", "--rows=dih", *arguments, **quick)
    assert again.returncode == 0, again.stderr
    assert "training is finished" in again.stderr
    assert (tmp_path / "dih" / "evaluation.json").stat() == written
    assert "Table 2. " in again.stdout
    assert f"{found['fMSE']:.2f}" in again.stdout
