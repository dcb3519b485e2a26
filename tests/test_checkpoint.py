import jax.numpy as jnp
import pytest
from flax import nnx

from harmony_jax import InputError, create_model
from harmony_jax.checkpoint import FOLDER, Checkpoints, open_checkpoint
from harmony_jax.variables import Variables, split

SMALL = {"depth": 2, "channels": 2, "max_channels": 2}


@pytest.fixture(scope="module")
def variables() -> Variables:
    model = create_model("improved_dih256", rngs=nnx.Rngs(0), **SMALL)
    return split(model)[1]


def save(folder, variables, errors: list[float | None]) -> None:
    checkpoints = Checkpoints(folder, keep_newest=1)
    for step, error in enumerate(errors, 1):
        validation = None if error is None else {"MSE": error}
        checkpoints.save(step, variables, {"moment": jnp.zeros(1)}, {"model": {}}, validation)
    checkpoints.close()


def steps(folder) -> set[int]:
    return {int(path.name) for path in folder.iterdir() if path.name.isdigit()}


def test_the_best_by_validation_and_the_newest_are_kept(tmp_path, variables):
    save(tmp_path / FOLDER, variables, [5.0, 1.0, 3.0, 4.0])
    assert steps(tmp_path / FOLDER) == {2, 4}
    checkpoints, step = open_checkpoint(tmp_path)
    assert step == checkpoints.best_step() == 2
    assert checkpoints.newest_step() == 4
    checkpoints.close()


def test_without_validation_the_newest_is_the_result(tmp_path, variables):
    save(tmp_path / FOLDER, variables, [None, None, None])
    assert steps(tmp_path / FOLDER) == {3}
    checkpoints, step = open_checkpoint(tmp_path)
    assert step == 3
    checkpoints.close()


def test_a_path_names_a_workdir_its_checkpoints_or_one_step(tmp_path, variables):
    workdir = tmp_path / "20261122"  # a number, as a step's folder
    save(workdir / FOLDER, variables, [1.0, 2.0])
    for path, expected in (
        (workdir, 1),
        (workdir / FOLDER, 1),
        (workdir / FOLDER / "2", 2),
    ):
        checkpoints, step = open_checkpoint(path)
        assert (checkpoints.folder, step) == (workdir / FOLDER, expected)
        checkpoints.close()
    with pytest.raises(InputError, match="3: no checkpoint there"):
        open_checkpoint(workdir / FOLDER / "3")
    with pytest.raises(InputError, match="no checkpoint there: pass a workdir"):
        open_checkpoint(tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()
