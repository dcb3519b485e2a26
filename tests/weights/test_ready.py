"""The model that comes with the package: its file, and that every command takes it by name."""

import os
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
import safetensors
from flax import nnx
from ml_collections import ConfigDict
from PIL import Image
from skimage import data
from skimage.color import deltaE_ciede2000, rgb2lab

import harmony_jax
from harmony_jax import Harmonizer, InputError, create_model, evaluate, to_torch_state_dict
from harmony_jax.evaluation.run import evaluate_workdir
from harmony_jax.training.initialization import initialize
from harmony_jax.weights import released
from harmony_jax.weights.files import read_state_dict
from harmony_jax.weights.released import READY_FILE
from scripts import convert_weights, export_model
from tests.made_data import tiny_config
from tests.weights.checks import assert_same_arrays

ROOT = Path(__file__).parents[2]

# Runs a program where there is no PyTorch and no network.
ALONE = """
import runpy, socket, sys
def refuse(*arguments, **options):
    raise AssertionError("a connection was asked for")
sys.modules["torch"] = None
socket.create_connection = socket.getaddrinfo = socket.socket.connect = refuse
del sys.argv[0]
"""
COMMAND = ALONE + "runpy.run_module('harmony_jax.harmonize_command', run_name='__main__')"
MAIN = ALONE + "runpy.run_path('main.py', run_name='__main__')"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A photo of a cat, the mask of its face, and the photo with the face made brighter.

    Among them lies a folder with the model's name, which a default must not take for a model.
    """
    root = tmp_path_factory.mktemp("cat")
    (root / "ready").mkdir()
    real = data.chelsea()
    y, x = np.mgrid[: real.shape[0], : real.shape[1]]
    mask = ((y - 150) / 90) ** 2 + ((x - 225) / 110) ** 2 <= 1
    composite = np.where(mask[:, :, None], np.minimum(real * 1.5, 255), real).astype(np.uint8)
    for name, pixels in (("real", real), ("mask", mask), ("composite", composite)):
        Image.fromarray(pixels).save(root / f"{name}.png")
    return root


@pytest.fixture(scope="module")
def harmonized(folder) -> np.ndarray:
    """What the command makes of it when no model is named."""
    run(folder, COMMAND, "harmonize", "composite.png", "mask.png", "-o", "harmonized.png")
    return picture(folder, "harmonized")


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    return read_state_dict(READY_FILE)


def run(folder: Path, code: str, *arguments: str) -> None:
    """Runs code in a process of its own, whose cache and pictures are in the folder."""
    result = subprocess.run(
        [sys.executable, "-c", code.replace("main.py", str(ROOT / "main.py")), *arguments],
        cwd=folder,
        env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr


def picture(folder: Path, name: str) -> np.ndarray:
    return np.asarray(Image.open(folder / f"{name}.png"))


def test_a_photo_is_harmonized_with_the_package_alone(folder, harmonized):
    real, mask, composite = (picture(folder, name) for name in ("real", "mask", "composite"))
    before, after = (
        np.square(found[mask].astype(float) - real[mask]).mean()
        for found in (composite, harmonized)
    )
    assert before > 1000
    assert after < 0.2 * before
    np.testing.assert_array_equal(harmonized[~mask], composite[~mask])


@pytest.fixture(scope="module")
def harmonizer() -> Harmonizer:
    return Harmonizer.from_checkpoint()


def in_the_middle(photo: np.ndarray) -> np.ndarray:
    height, width, _ = photo.shape
    y, x = np.mgrid[:height, :width]
    return np.hypot(y - height / 2, x - width / 2) < 0.3 * min(height, width)


@pytest.mark.parametrize(("name", "most"), [("astronaut", 2), ("chelsea", 2), ("coffee", 4)])
def test_a_right_object_stays_and_a_cast_is_removed(harmonizer, name, most):
    photo = getattr(data, name)()
    mask = in_the_middle(photo)
    result = harmonizer.harmonize(photo, mask)
    assert deltaE_ciede2000(rgb2lab(photo), rgb2lab(result))[mask].mean() < most
    cast = np.where(mask[..., None], photo * [0.7, 1, 1], photo).astype(np.uint8)
    before, after = (
        np.square(found.astype(float) - photo)[mask].mean()
        for found in (cast, harmonizer.harmonize(cast, mask))
    )
    assert after < 0.4 * before


def test_pasted_on_white_fog_black_stays_black(harmonizer):
    fog = np.random.default_rng(0).integers(230, 243, (300, 400, 3)).astype(np.uint8)
    mask = in_the_middle(fog)
    y, x = np.mgrid[:300, :400]
    black = mask & ((y // 20 + x // 20) % 2 == 0)
    fog[mask] = [90, 60, 40]
    fog[black] = 0
    lightness = rgb2lab(harmonizer.harmonize(fog, mask))[..., 0]
    assert lightness[black].max() < 8
    assert lightness[mask & ~black].mean() > 50


def test_predict_takes_the_same_model(folder, harmonized):
    files = ("--image=composite.png", "--mask=mask.png", "--output=predicted.png")
    run(folder, MAIN, "main.py", "--mode=predict", *files)
    np.testing.assert_array_equal(picture(folder, "predicted"), harmonized)


def test_the_file_is_of_float16_and_small_arrays_are_not(arrays):
    assert READY_FILE.stat().st_size < 25e6  # as much as repositories and package indices like
    with safetensors.safe_open(READY_FILE, framework="np") as file:
        found = {key: file.get_tensor(key) for key in arrays}
    for key, array in found.items():
        expected = np.float16 if array.size > 4096 else arrays[key].dtype
        assert array.dtype == expected, key
    assert sum(array.size for array in found.values()) > 8.3e6


def test_what_is_not_python_comes_into_the_wheel():
    package = Path(harmony_jax.__file__).parent
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = [
        path.relative_to(package.parent)
        for path in package.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
    assert READY_FILE.relative_to(package.parent) in found
    for path in found:
        assert any(
            fnmatch(path.as_posix(), f"{name.replace('.', '/')}/{pattern}")
            for name, listed in patterns["package-data"].items()
            for pattern in listed
        ), path


@pytest.mark.parametrize("state", ["missing", "cut off", "changed"])
def test_a_damaged_file_is_one_line(tmp_path, monkeypatch, state):
    path = tmp_path / "ready.safetensors"
    content = bytearray(READY_FILE.read_bytes())
    content[-1000] ^= 1
    if state != "missing":
        path.write_bytes(content if state == "changed" else READY_FILE.read_bytes()[:-1])
    monkeypatch.setattr(released, "READY_FILE", path)
    with pytest.raises(InputError) as error:
        harmony_jax.Harmonizer.from_checkpoint()
    assert str(error.value).startswith(f"{path}: ")
    assert str(error.value).endswith(": reinstall harmony_jax")
    assert "\n" not in str(error.value)


def test_a_training_starts_from_it(arrays):
    model = nnx.eval_shape(lambda: create_model("improved_dih256", rngs=nnx.Rngs(0)))
    initialize(model, ConfigDict({"checkpoint": "ready", "backbone": ""}))
    assert_same_arrays(to_torch_state_dict(model), arrays)


def test_it_is_converted_and_one_command_makes_the_file_from_a_workdir(arrays, tmp_path):
    for name in ("out.safetensors", "out.pth", "workdir"):
        convert_weights.main(["--input=ready", f"--output={tmp_path / name}"])
    assert_same_arrays(read_state_dict(tmp_path / "out.safetensors"), arrays)
    assert_same_arrays(read_state_dict(tmp_path / "out.pth"), arrays)
    again = tmp_path / "again.safetensors"
    convert_weights.main(
        [f"--input={tmp_path / 'workdir'}", f"--output={again}", "--dtype=float16"]
    )
    assert again.read_bytes() == READY_FILE.read_bytes()


class LoadingError(Exception):
    """Raised instead of loading a model, with its place."""


@pytest.mark.parametrize(
    "use",
    [
        lambda root, _: evaluate("ready", root, subsets=("HCOCO",)),
        lambda root, folder: evaluate_workdir(tiny_config(root), folder, "ready"),
        lambda _, folder: export_model.main(["--checkpoint=ready", f"--output={folder}/m.onnx"]),
    ],
    ids=["evaluate", "evaluate_workdir", "export"],
)
def test_it_is_evaluated_and_exported(use, mini_root, tmp_path, monkeypatch):
    def load(path, *_, **__):
        raise LoadingError(path)

    for module in ("harmony_jax.evaluation.run", "scripts.export_model"):
        monkeypatch.setattr(f"{module}.load_model", load)
    with pytest.raises(LoadingError) as taken:
        use(mini_root, tmp_path)
    assert taken.value.args == (READY_FILE,)
