import json

import pytest

from configs import table as table_config
from harmony_jax import InputError
from harmony_jax.evaluation.published import TABLES
from harmony_jax.paper.comparison import (
    Result,
    differences,
    read_result,
    table_text,
    write_table,
)
from harmony_jax.workdir import plain


def evaluated(workdir, config, **groups) -> None:
    """A workdir as a training leaves it, with these numbers."""
    workdir.mkdir()
    (workdir / "config.json").write_text(json.dumps({"config": plain(config)}))
    (workdir / "evaluation.json").write_text(json.dumps({"model": groups, "composite": {}}))


ALL = {"N": 7404.0, "MSE": 34.5, "fMSE": 370.25, "PSNR": 36.5, "SSIM": 0.99}


def test_a_result_has_the_tables_columns(tmp_path):
    config = table_config.get_config("1,dih")
    evaluated(tmp_path / "dih", config, All=ALL, HCOCO={"N": 1.0, "MSE": 22.0, "PSNR": 37.0})
    found = read_result(TABLES[1], tmp_path / "dih", config)
    expected = {"HCOCO MSE": 22, "HCOCO PSNR": 37, "All MSE": 34.5, "All PSNR": 36.5}
    assert found == Result(tmp_path / "dih", expected, 7404, [])
    second = read_result(TABLES[2], tmp_path / "dih", config)
    assert second.metrics == {"All MSE": 34.5, "All fMSE": 370.25}
    assert read_result(TABLES[1], tmp_path / "idih", config) is None


def test_another_test_set_and_a_damaged_file_are_said(tmp_path):
    config = table_config.get_config("3,dih")
    evaluated(tmp_path / "dih", config, All=ALL | {"N": 6.0})
    found = read_result(TABLES[3], tmp_path / "dih", config)
    assert found.images == 6
    assert found.notes == ["6 test images instead of 7,404"]
    (tmp_path / "dih" / "evaluation.json").write_text("{")
    with pytest.raises(InputError, match=r"evaluation\.json: cannot be read"):
        read_result(TABLES[3], tmp_path / "dih", config)


def test_what_a_training_did_differently_is_said():
    published = table_config.get_config("4,dih_1000")
    trial = published.copy_and_resolve_references()
    trial.data.root, trial.data.num_workers, trial.train.log_every_steps = "IHARMONY4", 3, 1
    assert differences(plain(trial), plain(published)) == []
    trial.model.depth, trial.train.epochs, trial.seed = 4, 1, 7
    trial.loss.min_area = 100.0
    assert differences(plain(trial), plain(published)) == [
        "model.depth 4",
        "loss.min_area 100.0 instead of 1000.0",
        "seed 7 instead of 0",
        "train.epochs 1 instead of 180",
    ]
    older = plain(published)
    del older["data"]["random_crop"]  # a field that the code had not then
    assert differences(older, plain(published)) == []


def results() -> dict[str, Result]:
    notes = ["train.epochs 1 instead of 180"]
    numbers = {"All MSE": 1234.5, "All fMSE": 380.126, "All PSNR": 35.9}
    return {key: Result("w", numbers, 7404, notes) for key in ("dih_flip", "dih_flip_crop")}


def test_text():
    lines = table_text(TABLES[3], results()).splitlines()
    assert lines[0].startswith("Table 3. Ablation of horizontal flip")
    assert [line.split() for line in lines[1:3]] == [["All"], ["row", "MSE", "fMSE", "PSNR"]]
    position = lines.index(next(line for line in lines if line.startswith("DIH, HFlip ")))
    assert lines[position].split()[-4:] == ["paper", "55.44", "555.92", "34.73"]
    assert lines[position + 1].split() == ["dih_flip", "ours", "1234.50", "380.13", "35.90"]
    assert lines[position - 1].split() == ["dih", "ours", "-", "-", "-"]
    assert lines[-1] == "Ours of dih_flip, dih_flip_crop: train.epochs 1 instead of 180"
    assert all(len(line) <= 100 for line in lines)


def test_rivals_have_no_line_of_ours():
    lines = table_text(TABLES[1], {}).splitlines()
    assert sum("ours" in line for line in lines) == 3
    assert sum("paper" in line for line in lines) == 6


def test_written(tmp_path):
    paths = write_table(TABLES[3], results(), tmp_path)
    assert paths == [tmp_path / "table3.md", tmp_path / "table3.json"]
    text = paths[0].read_text()
    assert text.startswith("# Table 3. ")
    assert "| DIH, HFlip | paper | 55.44 | 555.92 | 34.73 |\n" in text
    assert "| dih_flip | ours | 1234.50 | 380.13 | 35.90 |\n" in text
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1
    rows = {row["row"]: row for row in json.loads(paths[1].read_text())["rows"]}
    assert rows["dih_flip"]["published"]["All MSE"] == 55.44
    assert rows["dih_flip"]["ours"]["All MSE"] == 1234.5
    assert rows["dih"]["ours"] is None
