"""The `harmonize` command, as a person meets it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harmony_jax import Harmonizer
from harmony_jax.harmonize_command import main

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    for name in ("photos", "masks"):
        (root / name).mkdir()
    mask = np.zeros((40, 50), np.uint8)
    mask[10:20, 10:30] = 255
    for stem in ("cat", "dog"):
        image = RNG.integers(0, 256, (40, 50, 3)).astype(np.uint8)
        Image.fromarray(image).save(root / "photos" / f"{stem}.png")
        Image.fromarray(mask).save(root / "masks" / f"{stem}.png")
    return root


def run(*arguments: object) -> subprocess.CompletedProcess:
    command = [str(Path(sys.executable).parent / "harmonize"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_one_photo(trained, folder, tmp_path):
    photo, mask = folder / "photos" / "cat.png", folder / "masks" / "cat.png"
    out = tmp_path / "o.png"
    result = run(photo, mask, "-o", out, f"--checkpoint={trained[1]}")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{out}\n", "")
    expected = Harmonizer.from_checkpoint(trained[1]).harmonize(Image.open(photo), Image.open(mask))
    np.testing.assert_array_equal(np.asarray(Image.open(out)), expected)


def test_a_folder_with_a_failure(trained, folder, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in (folder / "photos").iterdir():
        (photos / path.name).write_bytes(path.read_bytes())
    arguments = ("--images", photos, "--masks", folder / "masks", "-o", tmp_path / "out")
    arguments = (*arguments, f"--checkpoint={trained[1]}")
    result = run(*arguments)
    assert (result.returncode, result.stderr) == (0, "2 harmonized\n")
    (photos / "cow.png").write_bytes(b"no picture")
    (tmp_path / "out" / "dog.png").unlink()
    result = run(*arguments)
    assert result.returncode == 2
    assert result.stderr == (
        "1 harmonized, 1 were there already, 1 failed:\n"
        f"  {photos / 'cow.png'}: no mask: expected {folder / 'masks' / 'cow.png'}\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "x"], "pass one photo, or a folder with --images"),
        (["a.png", "--images=b", "-o", "x"], "pass one photo, or a folder with --images"),
        (["a.png", "--masks=b", "-o", "x"], "--masks goes with --images"),
        (["a.png", "b.png"], "the following arguments are required: -o/--output"),
        (["a.png", "b.png", "c.png", "-o", "x"], "unrecognized arguments: c.png"),
        (["a.png", "b.png", "-o", "x", "--strength=2"], "--strength 2: expected 0 to 1"),
        (["a.png", "b.png", "-o", "x", "--max-megapixels=0"], "--max-megapixels 0: expected more"),
        (["a.png", "b.png", "-o", "x", "--quality=0"], "--quality 0: expected 1 to 100"),
        (["a.png", "b.png", "-o", "x", "--subsampling=4:1:1"], "invalid choice: '4:1:1'"),
        (["a.png", "b.png", "-o", "x", "--invert-masks=maybe"], "invalid choice: 'maybe'"),
        (["a.png", "b.png", "-o", "x"], "a.png: no such file or folder"),
        (["--images=gone", "-o", "x"], "--images gone: no such folder"),
        (["serve", "--port=many"], "argument --port: invalid int value: 'many'"),
        (["serve", "--port=99999"], "--port 99999: expected 0 to 65535"),
        (["serve", "--max-upload-mb=-1"], "--max-upload-mb -1: expected more than 0"),
    ],
)
def test_mistakes_are_one_line_and_status_1(arguments, message, monkeypatch):
    for name in (  # which change the process
        "harmonize_command.log_to_terminal",
        "harmonize_command.expect_any_file",
        "devices.compilation_cache.keep_compiled_programs",
    ):
        monkeypatch.setattr(f"harmony_jax.{name}", lambda: None)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    text = str(stopped.value)  # which sys.exit prints, with status 1
    assert text.startswith("error: ")
    assert message in text
    assert "\n" not in text


def test_a_model_that_is_not_there(folder, tmp_path):
    photo, mask = folder / "photos" / "cat.png", folder / "masks" / "cat.png"
    result = run(photo, mask, "-o", tmp_path / "o.png", "--checkpoint=hrnet")
    assert result.returncode == 1
    assert result.stderr.startswith(
        "error: hrnet: no such file or folder, and no model of that name: "
    )
    assert ", or one of ready, deeplab_r34_idih256, " in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
