import errno
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import SingleDeviceSharding

from harmony_jax import InputError, create_model
from harmony_jax.variables import Variables, split
from harmony_jax.weights.checkpoint import (
    Checkpoints,
    Restored,
    open_checkpoint,
    with_sharding,
)
from harmony_jax.weights.steps import FOLDER

SMALL = {"depth": 2, "channels": 2, "max_channels": 2}


@pytest.fixture(scope="module")
def variables() -> Variables:
    model = create_model("improved_dih256", rngs=nnx.Rngs(0), **SMALL)
    return split(model)[1]


def save(folder, variables, errors: list[float | None]) -> None:
    checkpoints = Checkpoints(folder, keep_newest=1)
    for step, error in enumerate(errors, 1):
        checkpoints.save(step, variables, {"moment": jnp.zeros(1)}, {"model": {}})
        if error is not None:
            checkpoints.add_validation(step, {"MSE": error})
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


def filled(folder, variables) -> Checkpoints:
    """Two checkpoints; the second is the newest."""
    checkpoints = Checkpoints(folder, keep_newest=2)
    for step in (1, 2):
        checkpoints.save(step, variables, {"moment": jnp.full(64, step * 1.0)}, {"model": {}})
    checkpoints.close()
    return Checkpoints(folder, keep_newest=2)


def restored(checkpoints, variables) -> Restored | None:
    return checkpoints.restore_newest(
        with_sharding(variables, SingleDeviceSharding(jax.devices()[0])),
        {"moment": jax.ShapeDtypeStruct((64,), jnp.float32)},
        lambda folder, metadata: None,
    )


def test_damage_to_any_file_is_noticed_unless_it_changes_nothing(tmp_path, variables, caplog):
    """Each file cut in half, and each with a byte changed in its middle."""
    filled(tmp_path / "good" / FOLDER, variables).close()
    newest = tmp_path / "good" / FOLDER / "2"
    files = [path.relative_to(newest) for path in newest.rglob("*") if path.is_file()]
    noticed = 0
    for number, file in enumerate(files):
        for kind in ("cut", "changed"):
            folder = tmp_path / f"{number}{kind}" / FOLDER
            shutil.copytree(tmp_path / "good" / FOLDER, folder)
            damaged = folder / "2" / file
            data = bytearray(damaged.read_bytes())
            if kind == "cut":
                data = data[: len(data) // 2]
            else:
                data[len(data) // 2] ^= 0xFF
            damaged.write_bytes(data)
            checkpoints = Checkpoints(folder, keep_newest=2)
            found = restored(checkpoints, variables)
            checkpoints.close()
            if found.step == 2:  # of a file that nothing is read from, such as a commit mark
                assert jax.tree.all(jax.tree.map(np.array_equal, found.variables, variables))
                assert (found.optimizer["moment"] == 2).all()
            else:
                noticed += 1
                assert found.step == 1
                assert (folder.parent / "damaged" / "2").exists()
                assert f"{folder}/2: damaged checkpoint" in caplog.text
    assert noticed >= 16


def test_values_that_changed_on_disk_are_noticed(tmp_path, variables, monkeypatch):
    """Whatever the file format makes of them, the values have a checksum of their own."""
    with monkeypatch.context() as patch:
        patch.setattr("harmony_jax.weights.checkpoint.checksum", lambda arrays: 12345)
        checkpoints = filled(tmp_path / FOLDER, variables)
    with pytest.raises(InputError, match="2: damaged checkpoint, model differs from what was"):
        checkpoints.model(2, with_sharding(variables, SingleDeviceSharding(jax.devices()[0])))
    checkpoints.close()


def test_without_an_intact_checkpoint_nothing_begins_anew_unasked(tmp_path, variables):
    folder = tmp_path / FOLDER
    checkpoints = filled(folder, variables)
    for step in ("1", "2"):
        shutil.rmtree(folder / step / "model" / "d")
    with pytest.raises(InputError, match=r"no checkpoint is intact .*choose another workdir"):
        restored(checkpoints, variables)
    assert steps(folder) == {1, 2}  # nothing was moved
    checkpoints.close()


def test_a_full_disk_is_one_line_and_keeps_the_last_checkpoint(tmp_path, variables, monkeypatch):
    checkpoints = filled(tmp_path / FOLDER, variables)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 99, 1))
    message = r"cannot be written \(.*No space left.*\), step 2 is the newest intact one: make room"
    with pytest.raises(InputError, match=message):
        checkpoints.save(3, variables, {"moment": jnp.zeros(64)}, {"model": {}})
    assert restored(checkpoints, variables).step == 2
    checkpoints.close()


def test_an_unknown_metric(tmp_path):
    with pytest.raises(InputError, match=r"best_metric 'SSIM': choose 'MSE', 'fMSE', 'PSNR'"):
        Checkpoints(tmp_path, best_metric="SSIM")


def test_the_best_by_another_metric(tmp_path, variables):
    checkpoints = Checkpoints(tmp_path / FOLDER, keep_newest=1, best_metric="PSNR")
    metadata = {"model": {}, "config": {"checkpoint": {"best_metric": "PSNR"}}}
    for step, psnr in enumerate((30.0, 34.0, 32.0, 31.0), 1):
        checkpoints.save(step, variables, {"moment": jnp.zeros(1)}, metadata)
        checkpoints.add_validation(step, {"MSE": float(step), "PSNR": psnr})
    checkpoints.close()
    assert steps(tmp_path / FOLDER) == {2, 4}
    checkpoints, step = open_checkpoint(tmp_path)
    assert step == 2
    checkpoints.close()


PASSING = (
    OSError(errno.EIO, "Input/output error"),
    OSError(errno.EMFILE, "Too many open files"),
    ValueError('RESOURCE_EXHAUSTED: Error opening "zarr" driver: Too many open files'),
)


@pytest.mark.parametrize("error", PASSING)
def test_an_error_that_may_pass_moves_no_checkpoint(tmp_path, variables, monkeypatch, error):
    checkpoints = filled(tmp_path / FOLDER, variables)

    def fails(*_, **__):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints._manager, "restore", fails)
        with pytest.raises(InputError, match=r"2: metadata cannot be read .*stays as it is"):
            restored(checkpoints, variables)
    assert not (tmp_path / "damaged").exists()
    assert restored(checkpoints, variables).step == 2
    checkpoints.close()


def test_a_file_that_cannot_be_read_moves_no_checkpoint(tmp_path, variables, monkeypatch):
    checkpoints = filled(tmp_path / FOLDER, variables)

    def fails(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("harmony_jax.weights.intact._size_and_sum", fails)
        with pytest.raises(InputError, match=r"Input/output error\): the checkpoint stays as it"):
            restored(checkpoints, variables)
    assert restored(checkpoints, variables).step == 2
    checkpoints.close()


def test_files_without_a_list_are_damaged_only_if_the_read_says_so(tmp_path, variables):
    """As checkpoints were before they had one."""
    folder = tmp_path / FOLDER
    filled(folder, variables).close()
    for step in "12":
        (folder / step / "files.json").unlink()
    (folder / "2" / "model" / "manifest.ocdbt").unlink()
    checkpoints = Checkpoints(folder, keep_newest=2)
    assert restored(checkpoints, variables).step == 1
    assert (tmp_path / "damaged" / "2").exists()
    checkpoints.close()


def test_a_tree_that_differs_is_named_and_moves_no_checkpoint(tmp_path, variables):
    checkpoints = filled(tmp_path / FOLDER, variables)
    sharding = SingleDeviceSharding(jax.devices()[0])
    other = {"moment": jax.ShapeDtypeStruct((3,), jnp.float32), "second": jnp.zeros(1)}
    with pytest.raises(InputError) as error:
        checkpoints.restore_newest(with_sharding(variables, sharding), other, lambda *_: None)
    assert "2: optimizer was written by other code or another config: it lacks second" in str(
        error.value
    )
    assert "has in another shape moment (64,) instead of (3,)" in str(error.value)
    assert steps(tmp_path / FOLDER) == {1, 2}
    checkpoints.close()


def test_damage_is_one_line_and_nothing_beside_it(tmp_path, variables, capfd):
    checkpoints = filled(tmp_path / FOLDER, variables)
    files = (tmp_path / FOLDER / "2" / "model" / "d").iterdir()
    max(files, key=lambda path: path.stat().st_size).write_bytes(b"")
    assert restored(checkpoints, variables).step == 1
    checkpoints.close()
    assert capfd.readouterr().err.strip() == ""


def test_metrics_that_were_saved_with_the_arrays_still_rank(tmp_path, variables):
    folder = tmp_path / FOLDER
    checkpoints = filled(folder, variables)
    for step, error in ((1, 2.0), (2, 3.0)):
        (folder / str(step) / "metrics").mkdir()
        (folder / str(step) / "metrics" / "metrics").write_text(json.dumps({"MSE": error}))
    assert checkpoints.best_step() == 1
    checkpoints.close()
