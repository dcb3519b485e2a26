"""The command line, as a person meets it: one clear line for each mistake."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
IDIH = "--config=configs/improved_dih256.py"


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "main.py", *arguments], cwd=ROOT, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([IDIH, "--config.train.epoch=3"], '"epoch"'),
        ([IDIH, "--config.train.epochs=many"], "many"),
        (["--config=configs/idih.py"], "configs/idih.py"),
        ([IDIH, "--mode=test"], "--mode"),
        ([IDIH], "--workdir is missing: --mode=train needs it"),
        (["--mode=predict", "--image=a.jpg"], "--checkpoint is missing"),
        ([IDIH, "--workdir=x", "stray"], "'stray'"),
        (
            [IDIH, "--workdir=x", "--config.data.root=/nowhere"],
            "data.root /nowhere: no such folder",
        ),
    ],
)
def test_mistakes_are_one_line_and_a_status(arguments, expected):
    result = run(*arguments)
    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert expected in lines[0]


def test_a_run_from_the_command_line(mini_root, tmp_path):
    """Train, evaluate and predict with worker processes, from an ordinary config."""
    small = [
        IDIH,
        f"--workdir={tmp_path}",
        f"--config.data.root={mini_root}",
        "--config.data.subsets=('HCOCO', 'HFlickr')",
        "--config.data.image_size=32",
        "--config.data.num_workers=1",
        "--config.model.depth=4",
        "--config.model.channels=8",
        "--config.train.batch_size=4",
        "--config.train.epochs=1",
        "--config.train.log_every_steps=1",
        "--config.data.validation_fraction=0.1",
    ]
    trained = run(*small)
    assert trained.returncode == 0, trained.stderr
    for part in ("step 3/3", "epoch 1.0/1", "loss", "images/s", "left"):
        assert part in trained.stderr
    assert "composite" in trained.stdout
    evaluated = run(*small, "--mode=evaluate", "--config.evaluation.split=train")
    assert evaluated.returncode == 0, evaluated.stderr
    assert (tmp_path / "evaluation_train.json").exists()
    folder = mini_root / "HCOCO"
    predicted = run(
        "--mode=predict",
        f"--checkpoint={tmp_path}",
        f"--image={folder / 'composite_images' / 'test000_1_0.jpg'}",
        f"--mask={folder / 'masks' / 'test000_1.png'}",
        f"--output={tmp_path / 'out.png'}",
    )
    assert predicted.returncode == 0, predicted.stderr
    assert (tmp_path / "out.png").stat().st_size > 100
