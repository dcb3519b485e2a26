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
from tests.weights.refusals import refusal

ARRAYS = {
    "encoder.0.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 7,
    "encoder.1.running_var": np.array([1.5, 2.5], np.float32),
    "encoder.1.num_batches_tracked": np.array(5, np.int64),
}


def tensors(prefix: str = "") -> OrderedDict:
    return OrderedDict((prefix + key, torch.tensor(value)) for key, value in ARRAYS.items())


def assert_same(found: dict, expected: dict = ARRAYS) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert (found[key].dtype, found[key].shape) == (value.dtype, value.shape), key
        np.testing.assert_array_equal(found[key], value)


class Payload:
    """Makes a file when unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch '{self.marker}'",)


@needs_torch
@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("nested", [True, False], ids=["nested", "plain"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.model."])
def test_released_formats_are_read(tmp_path, is_zip, nested, prefix):
    content = tensors(prefix)
    if nested:
        content = {"state_dict": content, "epoch": 3, "optimizer": {"lr": 0.1}}
    path = tmp_path / "weights.pth"
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    assert zipfile.is_zipfile(path) == is_zip
    assert_same(read_state_dict(path))


@needs_torch
def test_other_pickle_protocols_are_read_without_a_warning(tmp_path):
    torch.save(tensors(), tmp_path / "weights.pth", pickle_protocol=3)
    assert_same(read_state_dict(tmp_path / "weights.pth"))
    torch.save(tensors(), tmp_path / "newer.pth", pickle_protocol=4)
    assert "torch.save and its own pickle_protocol" in refusal(tmp_path / "newer.pth")


def test_a_prefix_that_not_every_key_has_is_a_name(tmp_path):
    """Foreground-aware models have `model.`, `backbone.` and `mask_conv.`."""
    keys = {"model.encoder.weight", "backbone.conv1.weight", "module.bias"}
    write_state_dict(tmp_path / "weights.pth", {key: np.zeros(1) for key in keys})
    assert read_state_dict(tmp_path / "weights.pth").keys() == keys


@needs_torch
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_half_precision_becomes_float32(tmp_path, ending):
    import safetensors.torch

    path = tmp_path / f"weights{ending}"
    save = torch.save if ending == ".pth" else safetensors.torch.save_file
    save({"a": torch.tensor([1.5], dtype=torch.bfloat16), "b": torch.ones(2).half()}, path)
    assert_same(
        read_state_dict(path), {"a": np.array([1.5], np.float32), "b": np.ones(2, np.float32)}
    )


@pytest.mark.parametrize("ending", [".safetensors", ".pth", ".pt", ".bin", ".PTH"])
def test_written_weights_are_read_back_bit_by_bit(tmp_path, ending):
    path = tmp_path / "new folder" / f"weights{ending}"
    # As converted weights are: transposed views, read-only.
    written = {key: np.array(value, order="F") for key, value in ARRAYS.items()}
    for value in written.values():
        value.setflags(write=False)
    write_state_dict(path, written)
    assert_same(read_state_dict(path))
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@needs_torch
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_pytorch_modules_load_what_is_written(tmp_path, ending):
    import safetensors.torch

    layer, other = (
        torch.nn.Sequential(torch.nn.Conv2d(2, 3, 1), torch.nn.BatchNorm2d(3)) for _ in range(2)
    )
    layer(torch.randn(2, 2, 4, 4))  # moves the running statistics
    arrays = {key: value.numpy() for key, value in layer.state_dict().items()}
    path = tmp_path / f"weights{ending}"
    write_state_dict(path, arrays)
    load = torch.load if ending == ".pth" else safetensors.torch.load_file
    other.load_state_dict(load(path))
    for key, value in other.state_dict().items():
        assert value.numpy().dtype == arrays[key].dtype
        np.testing.assert_array_equal(value, arrays[key])


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


def hostile_files(folder: Path, marker: Path) -> dict[str, Path]:
    payload = Payload(marker)
    files = {
        name: folder / f"{name}.pth"
        for name in ("zip", "legacy", "nested", "raw2", "raw4", "tail", "made")
    }
    torch.save({"weight": payload}, files["zip"])
    torch.save({"weight": payload}, files["legacy"], _use_new_zipfile_serialization=False)
    torch.save({"state_dict": tensors(), "epoch": payload}, files["nested"])
    files["raw2"].write_bytes(pickle.dumps(payload, 2))
    files["raw4"].write_bytes(pickle.dumps({"weight": payload}, 4))
    # After a harmless head of the old format: magic number, version, machine.
    head = io.BytesIO()
    torch.save(tensors(), head, _use_new_zipfile_serialization=False)
    files["tail"].write_bytes(head.getvalue() + pickle.dumps(payload, 2))
    # A hand-made archive whose data.pkl is the plain pickle.
    with zipfile.ZipFile(files["made"], "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(payload, 2))
        archive.writestr("archive/version", "3\n")
    return files


@needs_torch
def test_reading_never_executes_what_a_file_asks_for(tmp_path):
    marker = tmp_path / "executed"
    pickle.loads(pickle.dumps(Payload(marker)))
    assert marker.exists()  # the payload is a working one
    marker.unlink()
    for name, path in hostile_files(tmp_path, marker).items():
        if name == "tail":  # weights that are followed by code: the weights are read
            assert_same(read_state_dict(path))
        else:
            message = refusal(path)
            reason = "instructions that weights do not need" if name == "raw4" else "posix.system"
            assert "refused: " in message
            assert reason in message
            assert "save model.state_dict() with torch.save" in message
        assert not marker.exists(), name


def test_a_torchscript_program_is_refused(tmp_path):
    path = tmp_path / "program.pth"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("data.pkl", "constants.pkl", "version"):
            archive.writestr(f"archive/{name}", "3\n")
    assert "refused: a TorchScript program, not weights" in refusal(path)


@needs_torch
def test_a_whole_pickled_module_is_refused(tmp_path):
    torch.save(torch.nn.Conv2d(1, 1, 1), tmp_path / "module.pth")
    assert "torch.nn.modules.conv.Conv2d" in refusal(tmp_path / "module.pth")
    assert "save model.state_dict() with torch.save" in refusal(tmp_path / "module.pth")


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
        (lambda: {"weight": torch.ones(2, 2).to_sparse()}, "entry 'weight' is no plain array"),
        (lambda: {"weight": torch.ones(2, device="meta")}, "entry 'weight' is no plain array"),
    ],
)
def test_a_file_of_something_else_is_one_line(tmp_path, content, expected):
    torch.save(content(), tmp_path / "other.pth")
    assert expected in refusal(tmp_path / "other.pth")


@needs_torch
def test_number_types_without_a_numpy_type_are_one_line(tmp_path):
    import safetensors.torch

    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file({"weight": torch.ones(2).to(torch.float8_e4m3fn)}, path)
    assert "weight cannot be read" in refusal(path)
    assert "save it as float32" in refusal(path)


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_files_that_are_no_weights_are_one_line(tmp_path, ending):
    path = tmp_path / f"weights{ending}"
    assert "No such file or directory): check the path" in refusal(path)
    path.mkdir()
    assert "Is a directory): check the path" in refusal(path)
    path.rmdir()
    path.touch()
    assert "the file is empty: replace it" in refusal(path)
    for text in (b"404: Not Found", b"<!DOCTYPE html><html>", bytes(1000), b"\xff" * 1000):
        path.write_bytes(text)
        assert "not a " in refusal(path)
        assert "or a damaged one" in refusal(path)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("zip", marks=needs_torch),
        pytest.param("legacy", marks=needs_torch),
        "safetensors",
    ],
)
def test_a_truncated_file_is_one_line(tmp_path, kind):
    path = tmp_path / ("weights.safetensors" if kind == "safetensors" else "weights.pth")
    if kind == "safetensors":
        safetensors.numpy.save_file(ARRAYS, path)
    else:
        torch.save(tensors(), path, _use_new_zipfile_serialization=kind == "zip")
    data = path.read_bytes()
    for length in {1, 2, 9, 60, len(data) // 2, len(data) - 1} - {len(data)}:
        path.write_bytes(data[:length])
        assert "damaged" in refusal(path)


def test_an_unknown_ending_is_one_line(tmp_path):
    assert "unknown ending '.onnx': use .pth, .pt or .bin" in refusal(tmp_path / "weights.onnx")
    with pytest.raises(InputError, match="unknown ending ''"):
        write_state_dict(tmp_path / "weights", ARRAYS)
    assert list(tmp_path.iterdir()) == []


def test_pytorch_is_not_even_imported(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in ("new.pth", "new.safetensors"):
        write_state_dict(tmp_path / name, ARRAYS)
        assert_same(read_state_dict(tmp_path / name))
