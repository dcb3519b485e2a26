"""Weights in files: what is read, what is refused, and that reading executes nothing."""

import io
import os
import pickle
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from harmony_jax import InputError
from harmony_jax.weights.files import read_state_dict, write_state_dict
from tests.pytorch import needs_torch, torch
from tests.weights.checks import assert_same_arrays, refusal

ARRAYS = {
    "encoder.0.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 7,
    "encoder.1.running_var": np.array([1.5, 2.5], np.float32),
    "encoder.1.num_batches_tracked": np.array(5, np.int64),
}


def tensors(prefix: str = "") -> OrderedDict:
    return OrderedDict((prefix + key, torch.tensor(value)) for key, value in ARRAYS.items())


@needs_torch
@pytest.mark.parametrize(
    "options",
    [{}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 3}],
    ids=["zip", "before 1.6", "protocol 3"],
)
@pytest.mark.parametrize("nested", [True, False], ids=["nested", "plain"])
@pytest.mark.parametrize("prefix", ["", "module.model."])
def test_released_formats_are_read(tmp_path, options, nested, prefix):
    content = tensors(prefix)
    if nested:
        content = {"state_dict": content, "epoch": 3, "optimizer": {"lr": 0.1}}
    torch.save(content, tmp_path / "weights.pth", **options)
    assert_same_arrays(read_state_dict(tmp_path / "weights.pth"), ARRAYS)


def test_a_prefix_that_not_every_key_has_is_a_name(tmp_path):
    """Foreground-aware models have `model.`, `backbone.` and `mask_conv.`."""
    keys = {"model.encoder.weight", "backbone.conv1.weight", "module.bias"}
    write_state_dict(tmp_path / "weights.pth", {key: np.zeros(1) for key in keys})
    assert read_state_dict(tmp_path / "weights.pth").keys() == keys


@needs_torch
def test_half_precision_in_safetensors_becomes_float32_and_float8_is_refused(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.tensor([1.5], dtype=torch.bfloat16), "b": torch.ones(2).half()}, path)
    expected = {"a": np.array([1.5], np.float32), "b": np.ones(2, np.float32)}
    assert_same_arrays(read_state_dict(path), expected)
    save_file({"weight": torch.ones(2).to(torch.float8_e4m3fn)}, path)
    message = refusal(path)
    assert "weight cannot be read" in message
    assert "save it as float32" in message


@pytest.mark.parametrize("ending", [".safetensors", ".pth", ".pt", ".bin", ".PTH"])
def test_written_weights_are_read_back_bit_by_bit(tmp_path, ending):
    path = tmp_path / "new folder" / f"weights{ending}"
    # As converted weights are: transposed views, read-only.
    written = {key: np.array(value, order="F") for key, value in ARRAYS.items()}
    for value in written.values():
        value.setflags(write=False)
    write_state_dict(path, written)
    assert_same_arrays(read_state_dict(path), ARRAYS)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_a_file_is_never_overwritten(tmp_path, ending):
    path = tmp_path / f"weights{ending}"
    path.write_text("precious")
    with pytest.raises(InputError, match="is there already"):
        write_state_dict(path, ARRAYS)
    assert path.read_text() == "precious"


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch, ending):
    def full_disk(self, data):
        with self.open("wb") as file:
            file.write(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(InputError, match=rf"weights\{ending}: cannot be written \(No space"):
        write_state_dict(tmp_path / f"weights{ending}", ARRAYS)
    assert list(tmp_path.iterdir()) == []


class Payload:
    """Makes a file when unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch '{self.marker}'",)


def archive_of(data: bytes) -> bytes:
    """A file of today's format whose pickle is the given one."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


def saved(content: object, **options: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


@needs_torch
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda bad: saved({"weight": bad}), "posix.system"),
        (lambda bad: saved({"weight": bad}, _use_new_zipfile_serialization=False), "posix.system"),
        (lambda bad: saved({"state_dict": tensors(), "epoch": bad}), "posix.system"),
        (lambda bad: pickle.dumps(bad, 2), "posix.system"),
        (lambda bad: pickle.dumps({"weight": bad}, 4), "instructions that weights do not need"),
        (lambda bad: archive_of(pickle.dumps(bad, 2)), "posix.system"),
        # Weights that are followed by code: the weights are read.
        (
            lambda bad: (
                saved(tensors(), _use_new_zipfile_serialization=False) + pickle.dumps(bad, 2)
            ),
            None,
        ),
    ],
)
def test_reading_never_executes_what_a_file_asks_for(tmp_path, make, reason):
    marker, path = tmp_path / "executed", tmp_path / "weights.pth"
    pickle.loads(pickle.dumps(Payload(marker)))
    marker.unlink()  # the payload is a working one
    path.write_bytes(make(Payload(marker)))
    if reason is None:
        assert_same_arrays(read_state_dict(path), ARRAYS)
    else:
        message = refusal(path)
        assert "refused: " in message
        assert reason in message
        assert "save model.state_dict() with torch.save" in message
    assert not marker.exists()


def test_a_torchscript_program_is_refused(tmp_path):
    path = tmp_path / "program.pth"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("data.pkl", "constants.pkl", "version"):
            archive.writestr(f"archive/{name}", "3\n")
    assert "refused: a TorchScript program, not weights" in refusal(path)


@needs_torch
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (lambda: torch.ones(3), "holds a Tensor, not a state_dict"),
        (lambda: [1, 2], "holds a list, not a state_dict"),
        (lambda: {"weight": 3}, "entry 'weight' is a int"),
        (lambda: {"weight": {"deeper": torch.ones(1)}}, "entry 'weight' is a dict"),
        (lambda: {1: torch.ones(3)}, "entry 1 is a Tensor, expected names and tensors"),
        (lambda: {}, "holds no weights"),
        (lambda: torch.nn.Conv2d(1, 1, 1), "torch.nn.modules.conv.Conv2d"),
        (lambda: {"weight": torch.ones(2, 2).to_sparse()}, "entry 'weight' is no plain array"),
        (lambda: {"weight": torch.ones(2, device="meta")}, "entry 'weight' is no plain array"),
    ],
)
def test_a_file_of_something_else_is_one_line(tmp_path, content, expected):
    torch.save(content(), tmp_path / "other.pth")
    assert expected in refusal(tmp_path / "other.pth")


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_files_that_are_no_weights_are_one_line(tmp_path, ending):
    path = tmp_path / f"weights{ending}"
    assert "No such file or directory): check the path" in refusal(path)
    path.mkdir()
    assert "Is a directory): check the path" in refusal(path)
    path.rmdir()
    path.touch()
    assert "the file is empty: replace it" in refusal(path)
    data = safetensors.numpy.save(ARRAYS)
    truncated = [data[:length] for length in (1, 9, 60, len(data) // 2, len(data) - 1)]
    for text in (b"404: Not Found", b"<!DOCTYPE html><html>", bytes(1000), *truncated):
        path.write_bytes(text)
        assert "not a " in refusal(path)
        assert "or a damaged one" in refusal(path)


def test_an_unknown_ending_is_one_line(tmp_path):
    assert "unknown ending '.onnx': use .pth, .pt or .bin" in refusal(tmp_path / "weights.onnx")
    with pytest.raises(InputError, match="unknown ending ''"):
        write_state_dict(tmp_path / "weights", ARRAYS)
    assert list(tmp_path.iterdir()) == []


def test_pytorch_is_not_even_imported(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in ("new.pth", "new.safetensors"):
        write_state_dict(tmp_path / name, ARRAYS)
        assert_same_arrays(read_state_dict(tmp_path / name), ARRAYS)
