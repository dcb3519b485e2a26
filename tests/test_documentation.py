"""The tables of models in docs/models.md and README.md, against the models."""

import math
import re
import shlex

import pytest

from harmony_jax import list_models
from harmony_jax.evaluation.published import rows_for
from harmony_jax.weights.downloads import FILES
from tests.commands import ROOT, run
from tests.conftest import DEVICE_COUNT
from tests.made_data import write_iharmony4
from tests.released import golden

# Entries of a state_dict that training does not change by gradients.
_NOT_TRAINED = re.compile(r"running_mean$|running_var$|num_batches_tracked$|mask_blurring")


def rows(file: str) -> dict[str, list[str]]:
    """The other cells of each table row that begins with a model's name."""
    found = {}
    for line in (ROOT / file).read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        name = cells[0].strip("`")
        if line.startswith("| `") and name in list_models():
            assert name not in found
            found[name] = cells[1:]
    return found


def test_every_model_is_listed():
    assert sorted(rows("docs/models.md")) == list_models()


@pytest.mark.parametrize("name", list_models())
def test_parameters(name):
    trained = (shape for key, shape in golden(name)["state_dict"] if not _NOT_TRAINED.search(key))
    millions = sum(math.prod(shape) for shape in trained) / 1e6
    assert rows("docs/models.md")[name][1] == f"{millions:.2f}"


def test_released_files():
    listed = {name: cells[4] for name, cells in rows("docs/models.md").items() if cells[4]}
    assert {name: cell.split("`")[1] for name, cell in listed.items()} == FILES
    for name, (_, file, numbers) in rows("README.md").items():
        assert listed.pop(name) == f"{file}: {numbers}"
    assert not listed


@pytest.mark.parametrize("name", list_models())
def test_published_numbers(name):
    """MSE / PSNR of each model in docs/models.md: the paper's, and of the released weights."""
    metrics = [row.metrics for row in rows_for(name) if row.model == name]
    quoted = re.findall(r"(\d+\.\d\d) / (\d+\.\d\d)", " ".join(rows("docs/models.md")[name][-2:]))
    own = {(row["All MSE"], row["All PSNR"]) for row in metrics}
    assert own == {(float(mse), float(psnr)) for mse, psnr in quoted}


def test_every_file_that_the_documents_name_is_there():
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    names = {
        name
        for document in documents
        for name in re.findall(
            r"`((?:harmony_jax|scripts|tests|configs)/[\w./]*)`", document.read_text()
        )
    }
    assert len(names) > 30
    assert not [name for name in names if not (ROOT / name).exists() and "N" not in name]


def test_where_to_change_names_files_that_are_there():
    """Each name in a line is of the repository, of the package, or beside the one before it."""
    text = (ROOT / "docs" / "where_to_change.md").read_text()
    for line in text.splitlines():
        folders = [ROOT, ROOT / "harmony_jax"]
        for name in re.findall(r"`([\w./]+(?:\.py|\.html|\.md|/))`", line):
            found = [folder / name for folder in folders if (folder / name).exists()]
            assert found or name == "__init__.py", name
            folders += [path if path.is_dir() else path.parent for path in found[:1]]


def test_the_command_for_a_pod_trains_on_one(tmp_path):
    """As docs/training.md has it, on as many simulated chips, with a small network and data."""
    text = (ROOT / "docs" / "training.md").read_text()
    chips = re.search(r"\*\*Cloud TPU\*\* slice, here of (\d+) chips", text)[1]
    command = re.search(r'--command="cd harmony_jax && \\\n\s*python (.*?)"', text, re.DOTALL)[1]
    write_iharmony4(tmp_path / "data", train=130, test=4)
    result = run(
        *shlex.split(command.replace("\\\n", "")),
        f"--workdir={tmp_path / 'run'}",
        f"--config.data.root={tmp_path / 'data'}",
        "--config.init.backbone=",
        "--config.model.name=improved_dih256",
        "--config.model.depth=4",
        "--config.model.channels=8",
        "--config.model.max_channels=8",
        "--config.data.subsets=('HCOCO', 'HFlickr')",
        "--config.data.image_size=32",
        "--config.data.num_workers=0",
        "--config.evaluation.every_epochs=0",
        "--config.train.epochs=1",
        "--config.train.log_every_steps=1",
        XLA_FLAGS=f"{DEVICE_COUNT}={chips}",
    )
    assert result.returncode == 0, result.stderr
    assert f"on {chips} device(s)" in result.stderr
    assert (tmp_path / "run" / "evaluation.json").exists()
