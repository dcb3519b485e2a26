import errno
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import multihost_utils
from jax.sharding import SingleDeviceSharding

from harmony_jax import InputError
from harmony_jax.variables import Variables
from harmony_jax.weights.checkpoint import Checkpoints, Restored, open_checkpoint, with_sharding
from harmony_jax.weights.steps import FOLDER, saved_steps


@pytest.fixture
def variables() -> Variables:
    return Variables({"conv": {"kernel": jnp.arange(300.0)}}, {"mean": jnp.ones(4)})


def save(
    folder: Path,
    variables: Variables,
    metrics: list[dict[str, float] | None],
    best_metric: str = "MSE",
) -> None:
    """A checkpoint for each of the metrics; None is one that was not validated."""
    checkpoints = Checkpoints(folder, keep_newest=1, best_metric=best_metric)
    metadata = {"model": {}, "config": {"checkpoint": {"best_metric": best_metric}}}
    for step, found in enumerate(metrics, 1):
        checkpoints.save(step, variables, {"moment": jnp.zeros(1)}, metadata)
        if found is not None:
            checkpoints.add_validation(step, found)
    checkpoints.close()


@pytest.mark.parametrize(
    ("metric", "values", "best", "kept"),
    [
        ("MSE", [5.0, 1.0, 3.0, 4.0], 2, {2, 4}),
        ("PSNR", [30.0, 34.0, 32.0, 31.0], 2, {2, 4}),
        ("MSE", [2.0, float("nan"), 3.0], 1, {1, 3}),
        ("MSE", [None, None, None], 3, {3}),  # not validated: the newest
    ],
)
def test_the_best_by_validation_and_the_newest_are_kept(
    tmp_path, variables, metric, values, best, kept
):
    found = [None if value is None else {"fMSE": 0.0, metric: value} for value in values]
    save(tmp_path / FOLDER, variables, found, metric)
    assert set(saved_steps(tmp_path / FOLDER)) == kept
    checkpoints, step = open_checkpoint(tmp_path)
    assert step == checkpoints.best_step() == best
    assert checkpoints.newest_step() == len(values)
    checkpoints.close()


def test_an_unknown_metric(tmp_path):
    with pytest.raises(InputError, match=r"best_metric 'SSIM'"):
        Checkpoints(tmp_path, best_metric="SSIM")


def test_a_path_names_a_workdir_its_checkpoints_or_one_step(tmp_path, variables):
    workdir = tmp_path / "20261122"  # a number, as a step's folder
    save(workdir / FOLDER, variables, [{"MSE": 1.0}, {"MSE": 2.0}])
    for name in ("²", "007", "notes", "3.orbax-checkpoint-tmp"):  # not steps
        (workdir / FOLDER / name).mkdir()
    for path, expected in ((workdir, 1), (workdir / FOLDER, 1), (workdir / FOLDER / "2", 2)):
        checkpoints, step = open_checkpoint(path)
        assert (checkpoints.folder, step) == (workdir / FOLDER, expected)
        checkpoints.close()
    for path in (workdir / FOLDER / "3", workdir / FOLDER / "²", tmp_path / "elsewhere"):
        with pytest.raises(InputError, match=f"{path.name}: no checkpoint there"):
            open_checkpoint(path)
    assert not (tmp_path / "elsewhere").exists()


def filled(folder: Path, variables: Variables) -> Checkpoints:
    """Two checkpoints; the second is the newest."""
    checkpoints = Checkpoints(folder, keep_newest=2)
    for step in (1, 2):
        checkpoints.save(step, variables, {"moment": jnp.full(64, step * 1.0)}, {"model": {}})
    checkpoints.close()
    return Checkpoints(folder, keep_newest=2)


def abstract(variables: Variables) -> Variables:
    return with_sharding(variables, SingleDeviceSharding(jax.devices()[0]))


def restored(checkpoints: Checkpoints, variables: Variables) -> Restored | None:
    return checkpoints.restore_newest(
        abstract(variables),
        {"moment": jax.ShapeDtypeStruct((64,), jnp.float32)},
        lambda folder, metadata: None,
    )


def test_arrays_of_numpy_come_back_as_those_of_devices_do(tmp_path, variables):
    checkpoints = Checkpoints(tmp_path / FOLDER)
    optimizer = {"moment": np.arange(64, dtype=np.float32)}
    checkpoints.save(1, jax.tree.map(np.asarray, variables), optimizer, {"model": {}})
    checkpoints.close()
    checkpoints = Checkpoints(tmp_path / FOLDER)
    found = restored(checkpoints, variables)
    checkpoints.close()
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(found.variables))
    assert jax.tree.all(jax.tree.map(np.array_equal, found.variables, variables))
    np.testing.assert_array_equal(found.optimizer["moment"], optimizer["moment"])


def test_a_training_that_was_continued_saves_when_it_is_asked_to_stop(
    tmp_path, variables, monkeypatch
):
    """Orbax asks for itself whether a machine is preempted."""
    checkpoints = filled(tmp_path / FOLDER, variables)
    monkeypatch.setattr(multihost_utils, "reached_preemption_sync_point", lambda step: True)
    checkpoints.save(3, variables, {"moment": jnp.zeros(64)}, {"model": {}})
    checkpoints.close()
    assert saved_steps(tmp_path / FOLDER) == [2, 3]


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def changed(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]


NOT_METADATA = [b"3", b"NaN", b"[" * 100_000, b"{}", b"\xff", b""]


def test_damage_to_any_file_is_noticed_unless_it_changes_nothing(
    tmp_path, variables, caplog, capfd
):
    """Each file cut in half, and with a byte changed; JSON replaced, the list of files missing."""
    filled(tmp_path / "good" / FOLDER, variables).close()
    newest = tmp_path / "good" / FOLDER / "2"
    (newest / "validation.json").write_text('{"MSE": 1.0}')
    noticed = 0
    for file in sorted(path for path in newest.rglob("*") if path.is_file()):
        data, name = file.read_bytes(), file.relative_to(newest)
        replaced = NOT_METADATA if data[:1] == b"{" else []
        if name.name == "files.json":
            replaced = [*replaced, None]  # missing
        for number, damaged in enumerate([cut(data), changed(data), *replaced]):
            folder = tmp_path / f"{str(name).replace('/', '_')}{number}" / FOLDER
            shutil.copytree(tmp_path / "good" / FOLDER, folder)
            if damaged is None:
                (folder / "2" / name).unlink()
            else:
                (folder / "2" / name).write_bytes(damaged)
            checkpoints = Checkpoints(folder, keep_newest=2)
            found = restored(checkpoints, variables)
            assert checkpoints.newest_step() == found.step
            assert checkpoints.best_step() == found.step
            checkpoints.close()
            if found.step == 2:  # nothing that counts is read from the file
                ignored = "_CHECKPOINT_METADATA", "validation.json", "commit_success.txt"
                assert name.name in ignored
                assert jax.tree.all(jax.tree.map(np.array_equal, found.variables, variables))
                assert (found.optimizer["moment"] == 2).all()
            else:
                noticed += 1
                assert found.step == 1
                assert (folder.parent / "damaged" / "2").exists()
                assert f"{folder}/2: damaged checkpoint" in caplog.text
    assert noticed >= 40
    assert capfd.readouterr().err.strip() == ""  # nothing beside the warning


def test_one_damaged_item_is_told_when_it_is_read(tmp_path, variables):
    checkpoints = filled(tmp_path / FOLDER, variables)
    (tmp_path / FOLDER / "2" / "metadata" / "metadata").write_text("{")
    shutil.rmtree(tmp_path / FOLDER / "1" / "model" / "d")
    assert checkpoints.best_step() == 1
    with pytest.raises(InputError, match="2: damaged checkpoint, metadata/metadata"):
        checkpoints.metadata(2)
    with pytest.raises(InputError, match="1: damaged checkpoint, model/d"):
        checkpoints.model(1, abstract(variables))
    with pytest.raises(InputError, match=r"no checkpoint is intact .*choose another workdir"):
        restored(checkpoints, variables)
    assert saved_steps(tmp_path / FOLDER) == [1, 2]  # neither was moved
    checkpoints.close()


def test_a_full_disk_is_one_line_and_keeps_the_last_checkpoint(tmp_path, variables, monkeypatch):
    checkpoints = filled(tmp_path / FOLDER, variables)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 99, 1))
    message = r"cannot be written \(.*No space left.*\), step 2 is the newest intact one"
    with pytest.raises(InputError, match=message):
        checkpoints.save(3, variables, {"moment": jnp.zeros(64)}, {"model": {}})
    assert restored(checkpoints, variables).step == 2
    checkpoints.close()


@pytest.mark.parametrize(
    ("reader", "error"),
    [
        ("pathlib.Path.open", OSError(errno.EIO, "Input/output error")),
        ("pathlib.Path.read_bytes", OSError(errno.EMFILE, "Too many open files")),
        (
            "orbax.checkpoint.StandardCheckpointHandler.restore",
            ValueError('RESOURCE_EXHAUSTED: Error opening "zarr" driver: Too many open files'),
        ),
    ],
)
def test_an_error_that_may_pass_moves_no_checkpoint(
    tmp_path, variables, monkeypatch, reader, error
):
    checkpoints = filled(tmp_path / FOLDER, variables)

    def fails(*_, **__):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(reader, fails)
        with pytest.raises(InputError, match=r"2: .*cannot be read .*stays as it is"):
            restored(checkpoints, variables)
    assert not (tmp_path / "damaged").exists()
    assert restored(checkpoints, variables).step == 2
    checkpoints.close()


def test_a_tree_that_differs_is_named_and_moves_no_checkpoint(tmp_path, variables):
    checkpoints = filled(tmp_path / FOLDER, variables)
    other = {"moment": jax.ShapeDtypeStruct((3,), jnp.float32), "second": jnp.zeros(1)}
    with pytest.raises(InputError, match=r"2: optimizer .*moment \(64,\) .*\(3,\), second missing"):
        checkpoints.restore_newest(abstract(variables), other, lambda *_: None)
    assert saved_steps(tmp_path / FOLDER) == [1, 2]
    checkpoints.close()
