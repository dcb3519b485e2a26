"""main.py as people run it: one clear line for each mistake, and a run from end to end."""

from pathlib import Path

import pytest

from tests.commands import ROOT, failure, run
from tests.made_data import write_iharmony4

IDIH = "--config=configs/improved_dih256.py"


def small(root: Path, workdir: Path) -> list[str]:
    """An ordinary config cut down to seconds."""
    return [
        IDIH,
        f"--workdir={workdir}",
        f"--config.data.root={root}",
        "--config.data.subsets=('HCOCO', 'HFlickr')",
        "--config.data.image_size=32",
        "--config.data.num_workers=1",
        "--config.data.validation_fraction=0.1",
        "--config.model.depth=4",
        "--config.model.channels=8",
        "--config.train.batch_size=4",
        "--config.train.epochs=1",
        "--config.train.log_every_steps=1",
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([IDIH, "--config.train.epoch=3"], '"epoch"'),
        ([IDIH, "--config.train.epochs=many"], "many"),
        (["--config=configs/idih.py", "--workdir=x"], "configs/idih.py"),
        (["--config=README.md", "--workdir=x"], "README.md"),
        ([IDIH, "--config.nothing.at_all=3"], "nothing"),
        ([IDIH, "--mode=test"], "--mode"),
        (["--config=configs/table.py:4,dih_2", "--workdir=x"], "row 'dih_2': choose dih_1"),
        ([IDIH], "--workdir is missing: --mode=train needs it"),
        ([IDIH, "--workdir="], "--workdir is missing: --mode=train needs it"),
        (["--mode=predict", "--image=a.jpg"], "--output is missing"),
        ([IDIH, "--workdir=x", "stray"], "'stray'"),
        (
            [IDIH, "--workdir=x", "--config.data.root=/nowhere"],
            "data.root /nowhere: no such folder",
        ),
    ],
)
def test_mistakes_are_one_line_and_a_status(arguments, expected):
    assert expected in failure("main.py", *arguments)
    assert not (ROOT / "x").exists()


def test_a_damaged_photo_met_by_a_worker_process_is_one_line(tmp_path):
    write_iharmony4(tmp_path / "data", train=8, test=4)
    photo = tmp_path / "data" / "HFlickr" / "real_images" / "train001.jpg"
    photo.write_bytes(photo.read_bytes()[:-40])
    arguments = small(tmp_path / "data", tmp_path / "run")
    result = run("main.py", *arguments, "--config.evaluation.every_epochs=0")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    line = result.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    assert f"{photo}: damaged JPEG" in line


def test_a_run_from_the_command_line(mini_root, tmp_path):
    """Train, evaluate and predict with worker processes, from an ordinary config."""
    trained = run("main.py", *small(mini_root, tmp_path))
    assert trained.returncode == 0, trained.stderr
    assert "leaked" not in trained.stderr  # shared memory of the workers
    for part in ("step 3/3", "epoch 1.0/1", "loss", "images/s", "left"):
        assert part in trained.stderr
    assert "composite" in trained.stdout
    evaluated = run(
        "main.py", *small(mini_root, tmp_path), "--mode=evaluate", "--config.evaluation.split=train"
    )
    assert evaluated.returncode == 0, evaluated.stderr
    assert (tmp_path / "evaluation_train.json").exists()
    folder = mini_root / "HCOCO"
    predicted = run(
        "main.py",
        "--mode=predict",
        f"--checkpoint={tmp_path}",
        f"--image={folder / 'composite_images' / 'test000_1_0.jpg'}",
        f"--mask={folder / 'masks' / 'test000_1.png'}",
        f"--output={tmp_path / 'out.png'}",
    )
    assert predicted.returncode == 0, predicted.stderr
    assert (tmp_path / "out.png").stat().st_size > 100
